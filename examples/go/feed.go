package main

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	crown "crown.example/feed/gen/crown/notification/v1"
)

const (
	frameItems = 200
	// Items that may be without a result. The service stops reading at 4,096; what is more waits here.
	windowItems = 2_000
	// How often a stream that ended early, or items that were refused for now, are tried once more.
	mostStreams = 5
)

type notifications = grpc.BidiStreamingClient[crown.StreamNotificationsRequest, crown.StreamNotificationsResponse]

// feed sends items by streams, one after the other.
type feed struct {
	client crown.IngestServiceClient
	// How long it waits before another stream.
	pause time.Duration
	// The most items that were without a result at one time.
	mostWaiting int
	// How long the writer waited for results before it could go on.
	stoodStill time.Duration
}

func newFeed(connection *grpc.ClientConn) *feed {
	return &feed{client: crown.NewIngestServiceClient(connection), pause: time.Second}
}

// send answers each item, in their order. Where a stream ends early, because the server goes away, what has no
// answer goes on another one; with its key it is one notification all the same.
func (feed *feed) send(ctx context.Context, items []*item) ([]answer, error) {
	answers := make([]answer, len(items))
	open := indexes(answers)
	for range mostStreams {
		err := feed.sendOnce(ctx, items, open, answers)
		if err != nil && status.Code(err) != codes.Unavailable {
			return nil, err
		}
		open = indexes(answers)
		if len(open) == 0 {
			return answers, nil
		}
		seen("%d items go on another stream: %v", len(open), err)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(feed.pause):
		}
	}
	return nil, missing("an answer to %d items, after %d streams", len(open), mostStreams)
}

// indexes are the places of those that are to be sent still.
func indexes(answers []answer) []int {
	var open []int
	for index, answer := range answers {
		if answer.isOpen() {
			open = append(open, index)
		}
	}
	return open
}

// sendOnce sends the items at `open` by one stream, and writes what is answered to `answers`.
func (feed *feed) sendOnce(ctx context.Context, items []*item, open []int, answers []answer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := feed.client.StreamNotifications(ctx)
	if err != nil {
		return err
	}
	// Each item that was sent, until its result comes: the channel is the window.
	waiting := make(chan int, windowItems)
	read := make(chan error, 1)
	go func() {
		read <- readResults(stream, waiting, answers)
		// Who writes must not wait for a window that nobody empties.
		cancel()
	}()
	feed.write(ctx, stream, items, open, waiting)
	return <-read
}

// write sends frame after frame. It says nothing of errors: the reader hears why the stream ended.
func (feed *feed) write(ctx context.Context, stream notifications, items []*item, open []int, waiting chan<- int) {
	for len(open) > 0 {
		frame := open[:min(frameItems, len(open))]
		open = open[len(frame):]
		request := &crown.StreamNotificationsRequest{}
		for _, index := range frame {
			if !feed.enter(ctx, waiting, index) {
				return
			}
			request.Items = append(request.Items, items[index])
		}
		if stream.Send(request) != nil {
			return
		}
	}
	_ = stream.CloseSend()
}

// enter waits for room in the window. False: the stream is over.
func (feed *feed) enter(ctx context.Context, waiting chan<- int, index int) bool {
	begun := time.Now()
	select {
	case waiting <- index:
	case <-ctx.Done():
		return false
	}
	feed.stoodStill += time.Since(begun)
	feed.mostWaiting = max(feed.mostWaiting, len(waiting))
	return true
}

// readResults reads until the stream ends; nil is an end with OK. Results come in the order of the items.
func readResults(stream notifications, waiting <-chan int, answers []answer) error {
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, result := range response.GetResults() {
			select {
			case index := <-waiting:
				answers[index] = answerOf(result)
			default:
				return missing("an item for the result %q", result.GetItemId())
			}
		}
	}
}
