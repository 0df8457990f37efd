// A client of Gozon in Go: registers a user, opens an account, tops it up, orders something and waits until it is paid.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"google.golang.org/genproto/googleapis/rpc/errdetails"

	ordersv1 "example.com/gozon-client/gozon/orders/v1"
	paymentsv1 "example.com/gozon-client/gozon/payments/v1"
	usersv1 "example.com/gozon-client/gozon/users/v1"
)

const password = "correct horse battery staple"

func main() {
	edge := flag.String("edge", "localhost:8080", "host:port of the edge")
	flag.Parse()
	if err := run(*edge); err != nil {
		log.Fatal(explain(err))
	}
}

func run(edge string) error {
	connection, err := grpc.NewClient(edge, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	users := usersv1.NewUsersServiceClient(connection)
	payments := paymentsv1.NewPaymentsServiceClient(connection)
	orders := ordersv1.NewOrdersServiceClient(connection)

	// One deadline for everything; a service gives up a call when its client does.
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()

	// One connection for all three services: the edge looks at the method's name.
	email := fmt.Sprintf("go-%d@example.com", time.Now().UnixNano())
	user, err := users.Register(ctx, &usersv1.RegisterRequest{Email: email, Password: password})
	if err != nil {
		return err
	}
	fmt.Println("registered", user.Email, user.Id)
	token, err := users.Token(ctx, &usersv1.TokenRequest{GrantType: "password", Username: email, Password: password})
	if err != nil {
		return err
	}
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", token.TokenType+" "+token.AccessToken)

	if _, err = payments.OpenAccount(ctx, &paymentsv1.OpenAccountRequest{UserId: user.Id}); err != nil {
		return err
	}
	deposit := &paymentsv1.DepositRequest{UserId: user.Id, Amount: 100_000}
	if err = twice(ctx, payments, deposit); err != nil {
		return err
	}

	order, err := orders.CreateOrder(withKey(ctx, "order of "+email), &ordersv1.CreateOrderRequest{
		Items: []*ordersv1.OrderItem{{Name: "tea", Quantity: 2, Price: 19_900}},
	})
	if err != nil {
		return err
	}
	fmt.Println("created", order.Id, order.Status, order.TotalPrice, order.Currency)

	// The first message is the order as it is; the next one comes when it is settled.
	changes, err := orders.WatchOrder(ctx, &ordersv1.WatchOrderRequest{OrderId: order.Id})
	if err != nil {
		return err
	}
	for order.Status == ordersv1.Order_PENDING {
		if order, err = changes.Recv(); err != nil {
			return err
		}
		fmt.Println("it is", order.Status)
	}
	account, err := payments.GetAccount(ctx, &paymentsv1.GetAccountRequest{UserId: user.Id})
	if err != nil {
		return err
	}
	fmt.Println("balance", account.Balance, account.Currency)
	return nil
}

// twice deposits with one idempotency key two times, as a client does that did not get the first answer.
func twice(ctx context.Context, payments paymentsv1.PaymentsServiceClient, request *paymentsv1.DepositRequest) error {
	ctx = withKey(ctx, "first deposit of "+request.UserId)
	for range 2 {
		var headers metadata.MD
		account, err := payments.Deposit(ctx, request, grpc.Header(&headers))
		if err != nil {
			return err
		}
		fmt.Println("deposited", account.Balance, account.Currency, "replayed", headers.Get("idempotency-replayed"))
	}
	return nil
}

func withKey(ctx context.Context, key string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "idempotency-key", key)
}

// explain adds the reason of a Gozon error, which programs decide by; the message is for people.
func explain(err error) string {
	failed := status.Convert(err)
	for _, detail := range failed.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return fmt.Sprintf("%s %s: %s", failed.Code(), info.Reason, failed.Message())
		}
	}
	if failed.Code() == codes.Unavailable {
		return "is `make up` running? " + failed.Message()
	}
	return err.Error()
}
