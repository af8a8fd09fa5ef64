package main

import (
	"context"
	"fmt"
	"net"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	rpc "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/anypb"

	crown "crown.example/feed/gen/crown/notification/v1"
)

// ingest answers each frame of each stream by what the test says.
type ingest struct {
	crown.UnimplementedIngestServiceServer
	streams int
	answer  func(stream int, frame []*item) ([]*crown.StreamResult, error)
}

func (ingest *ingest) StreamNotifications(
	stream grpc.BidiStreamingServer[crown.StreamNotificationsRequest, crown.StreamNotificationsResponse],
) error {
	ingest.streams++
	number := ingest.streams
	for {
		request, err := stream.Recv()
		if err != nil {
			return nil
		}
		results, err := ingest.answer(number, request.GetItems())
		if results != nil {
			if sent := stream.Send(&crown.StreamNotificationsResponse{Results: results}); sent != nil {
				return sent
			}
		}
		if err != nil {
			return err
		}
	}
}

func accepted(frame []*item) []*crown.StreamResult {
	results := make([]*crown.StreamResult, len(frame))
	for index, item := range frame {
		id := "id of " + item.GetNotification().GetIdempotencyKey()
		results[index] = &crown.StreamResult{ItemId: item.GetItemId(), NotificationId: &id}
	}
	return results
}

func sendTo(t *testing.T, server *ingest, count int) ([]*item, []answer, *feed, error) {
	t.Helper()
	listener := bufconn.Listen(1 << 20)
	grpcServer := grpc.NewServer()
	crown.RegisterIngestServiceServer(grpcServer, server)
	go func() { _ = grpcServer.Serve(listener) }()
	t.Cleanup(grpcServer.Stop)
	connection, err := grpc.NewClient(
		"passthrough:ingest",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	feed, items := newFeed(connection), activity(count)
	feed.pause = 0
	answers, err := feed.send(t.Context(), items)
	return items, answers, feed, err
}

func mustBeAccepted(t *testing.T, items []*item, answers []answer) {
	t.Helper()
	for index, answer := range answers {
		if want := "id of " + items[index].GetNotification().GetIdempotencyKey(); answer.id != want {
			t.Fatalf("item %d has the id %q, not %q", index, answer.id, want)
		}
	}
}

func TestWhatHasNoResultGoesOnAnotherStream(t *testing.T) {
	server := &ingest{answer: func(stream int, frame []*item) ([]*crown.StreamResult, error) {
		if stream == 1 {
			return accepted(frame[:1]), status.Error(codes.Unavailable, "a deploy")
		}
		return accepted(frame), nil
	}}
	items, answers, _, err := sendTo(t, server, 5_000)
	if err != nil {
		t.Fatal(err)
	}
	mustBeAccepted(t, items, answers)
	if server.streams != 2 {
		t.Fatalf("there were %d streams", server.streams)
	}
}

func TestWhatIsRefusedForNowIsSentAgain(t *testing.T) {
	server := &ingest{answer: func(stream int, frame []*item) ([]*crown.StreamResult, error) {
		results := accepted(frame)
		if stream == 1 {
			detail, err := anypb.New(&errdetails.RetryInfo{})
			if err != nil {
				return nil, err
			}
			refusal := &rpc.Status{Code: int32(codes.Unavailable), Details: []*anypb.Any{detail}}
			results[0] = &crown.StreamResult{ItemId: frame[0].GetItemId(), Error: refusal}
		}
		return results, nil
	}}
	items, answers, _, err := sendTo(t, server, 1_000)
	if err != nil {
		t.Fatal(err)
	}
	mustBeAccepted(t, items, answers)
}

func TestTheWindowIsBounded(t *testing.T) {
	server := &ingest{}
	var held []*crown.StreamResult
	// Answers only when the window must be full, or all has come.
	received := 0
	server.answer = func(_ int, frame []*item) ([]*crown.StreamResult, error) {
		received += len(frame)
		held = append(held, accepted(frame)...)
		if len(held) > windowItems {
			return nil, fmt.Errorf("%d items came without a result", len(held))
		}
		if len(held) < windowItems && received < 3*windowItems {
			return nil, nil
		}
		results := held
		held = nil
		return results, nil
	}
	items, answers, feed, err := sendTo(t, server, 3*windowItems)
	if err != nil {
		t.Fatal(err)
	}
	mustBeAccepted(t, items, answers)
	if feed.mostWaiting != windowItems {
		t.Fatalf("the most that waited was %d", feed.mostWaiting)
	}
}

func TestAnotherErrorIsTold(t *testing.T) {
	server := &ingest{answer: func(int, []*item) ([]*crown.StreamResult, error) {
		return nil, status.Error(codes.Unauthenticated, "the token has expired")
	}}
	_, _, _, err := sendTo(t, server, 1_000)
	if status.Code(err) != codes.Unauthenticated || server.streams != 1 {
		t.Fatalf("%v, after %d streams", err, server.streams)
	}
}
