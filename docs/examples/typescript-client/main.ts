// A client of Gozon in TypeScript, for Node.js and, but for the arguments, browsers: registers a user, opens an account,
// tops it up, orders something and waits until it is paid.
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import type { CallOptions, Client } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";

import { ErrorInfoSchema } from "gozon-client/google/rpc/error_details_pb";
import { Order_Status, OrdersService } from "gozon-client/gozon/orders/v1/orders_pb";
import { PaymentsService } from "gozon-client/gozon/payments/v1/payments_pb";
import { UsersService } from "gozon-client/gozon/users/v1/users_pb";

const password = "correct horse battery staple";
/** For each call; a service gives up a call when its client does. */
const deadlineMs = 30_000;

async function run(edge: string): Promise<void> {
  // One transport for all three services: the edge looks at the method's name.
  const transport = createGrpcWebTransport({ baseUrl: edge, defaultTimeoutMs: deadlineMs });
  const users = createClient(UsersService, transport);
  const payments = createClient(PaymentsService, transport);
  const orders = createClient(OrdersService, transport);

  const email = `typescript-${crypto.randomUUID()}@example.com`;
  const user = await users.register({ email, password });
  console.log(`registered ${user.email} ${user.id}`);
  const token = await users.token({ grantType: "password", username: email, password });
  const authorization = `${token.tokenType} ${token.accessToken}`;
  const signedIn = { headers: { authorization } };

  await payments.openAccount({ userId: user.id }, signedIn);
  await twice(payments, user.id, { headers: { authorization, "idempotency-key": `first deposit of ${user.id}` } });

  // Money is int64, so it is a bigint here.
  const created = await orders.createOrder(
    { items: [{ name: "tea", quantity: 2, price: 19_900n }] },
    { headers: { authorization, "idempotency-key": `order of ${email}` } },
  );
  console.log(`created ${created.id} ${Order_Status[created.status]} ${created.totalPrice} ${created.currency}`);

  // The first message is the order as it is; the next one comes when it is settled. Leaving the loop does not end the
  // stream, nor the timer of a deadline: signals do both.
  const done = new AbortController();
  const signal = AbortSignal.any([done.signal, AbortSignal.timeout(deadlineMs)]);
  for await (const order of orders.watchOrder({ orderId: created.id }, { ...signedIn, signal, timeoutMs: 0 })) {
    console.log(`it is ${Order_Status[order.status]}`);
    if (order.status !== Order_Status.PENDING) break;
  }
  done.abort();
  const account = await payments.getAccount({ userId: user.id }, signedIn);
  console.log(`balance ${account.balance} ${account.currency}`);
}

/** Deposits with one idempotency key two times, as a client does that did not get the first answer. */
async function twice(payments: Client<typeof PaymentsService>, userId: string, options: CallOptions): Promise<void> {
  for (let time = 0; time < 2; time++) {
    let replayed: string | null = null;
    const onHeader = (headers: Headers) => {
      replayed = headers.get("idempotency-replayed");
    };
    const account = await payments.deposit({ userId, amount: 100_000n }, { ...options, onHeader });
    console.log(`deposited ${account.balance} ${account.currency} replayed ${replayed}`);
  }
}

/** Adds the reason of a Gozon error, which programs decide by; the message is for people. */
function explain(error: unknown): string {
  const failed = ConnectError.from(error);
  const [info] = failed.findDetails(ErrorInfoSchema);
  if (info) return `${Code[failed.code]} ${info.reason}: ${failed.rawMessage}`;
  return failed.cause instanceof TypeError ? `is \`make up\` running? ${failed.message}` : failed.message;
}

try {
  await run(process.argv[2] ?? "http://localhost:8080");
} catch (error) {
  console.error(explain(error));
  process.exitCode = 1;
}
