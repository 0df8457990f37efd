// Lines that move with the time, as one SVG.

export interface Point {
  /** Seconds. */
  at: number;
  value: number | undefined;
}

export interface Line {
  /** What it shows; also its class, for the colour. */
  name: "first" | "second";
  points: readonly Point[];
}

interface Props {
  /** What one who does not see it is told. */
  label: string;
  lines: readonly Line[];
  seconds: number;
  /** The top is at least this. */
  least: number;
  /** How the value at the top is written; without it, it is not. */
  write?: (value: number) => string;
}

const WIDTH = 300;
const HEIGHT = 90;
/** A longer pause is a gap in the line. */
const GAP_SECONDS = 10;

export function Chart({ label, lines, seconds, least, write }: Props) {
  const last = Math.max(...lines.flatMap(({ points }) => points.at(-1)?.at ?? []));
  const first = lines[0]?.points[0]?.at ?? 0;
  const values = lines.flatMap(({ points }) => points.flatMap(({ value }) => value ?? []));
  const top = rounded(Math.max(least, ...values));
  // Places are fixed to the time, and the whole slides to the left: only what is new is drawn where nothing was.
  const x = (at: number) => ((at - first) * WIDTH) / seconds;
  const y = (value: number) => HEIGHT - (value / top) * (HEIGHT - 4) - 1;
  const drawing = (
    <svg class="chart" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label={label}>
      {[0.5, 1].map((part) => (
        <line key={part} class="grid" x1="0" x2={WIDTH} y1={y(top * part)} y2={y(top * part)} />
      ))}
      <g style={{ transform: `translateX(${WIDTH - x(last)}px)` }}>
        {lines.map(({ name, points }) =>
          pieces(points).map((piece) => {
            const path = piece.map(({ at, value }) => `${x(at).toFixed(1)} ${y(value).toFixed(1)}`).join("L");
            const [begin, end] = [piece[0]?.at ?? 0, piece.at(-1)?.at ?? 0];
            return (
              <g key={`${name} ${begin}`} class={name}>
                {name === "first" && <path class="area" d={`M${x(begin)} ${HEIGHT}L${path}L${x(end)} ${HEIGHT}Z`} />}
                <path class="stroke" d={`M${path}`} />
              </g>
            );
          }),
        )}
      </g>
    </svg>
  );
  if (!write) return drawing;
  return (
    <div class="scaled">
      <small aria-hidden="true">{write(top)}</small>
      {drawing}
    </div>
  );
}

/** The top of a chart whose values go up to this. */
export function rounded(most: number): number {
  const size = 10 ** Math.floor(Math.log10(most));
  return ([1, 1.5, 2, 3, 5, 10].find((step) => step * size >= most) ?? 10) * size;
}

/** What can be drawn without lifting the pen. */
function pieces(points: readonly Point[]): { at: number; value: number }[][] {
  const found: { at: number; value: number }[][] = [];
  let before: Point | undefined;
  for (const { at, value } of points) {
    if (value !== undefined) {
      if (before?.value === undefined || at - before.at > GAP_SECONDS) found.push([]);
      found.at(-1)?.push({ at, value });
    }
    before = { at, value };
  }
  return found;
}
