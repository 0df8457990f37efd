// Line icons, 24 by 24.
const PATHS = {
  wallet: "M3 7.500A2.500 2.500 0 0 1 5.500 5H18v4M3 7.500V17a3 3 0 0 0 3 3h13a2 2 0 0 0 2-2v-7a2 2 0 0 0-2-2H5a2 2 0 0 1-2-1.500ZM16.500 14.500h.01",
  shop: "M4 9v10a1 1 0 0 0 1 1h14a1 1 0 0 0 1-1V9M3 9l2-5h14l2 5a3 3 0 0 1-6 0 3 3 0 0 1-6 0 3 3 0 0 1-6 0ZM10 20v-5h4v5",
  inventory: "M12 3 4 7v10l8 4 8-4V7ZM4 7l8 4 8-4M12 11v10",
  orders: "M6 3h12v18l-3-2-3 2-3-2-3 2ZM9 8h6M9 12h6",
  payouts: "M12 16V4M7 9l5-5 5 5M4 16v3a1 1 0 0 0 1 1h14a1 1 0 0 0 1-1v-3",
  admin: "M12 3 5 6v5c0 4.500 3 8 7 10 4-2 7-5.500 7-10V6ZM9 12l2 2 4-4",
  system: "M3 12h4l2.500-7 5 14 2.500-7h4",
} as const;

export type IconName = keyof typeof PATHS;

export function isIcon(name: string): name is IconName {
  return name in PATHS;
}

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="glyph" viewBox="0 0 24 24" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}
