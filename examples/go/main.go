// The feed service: what people do on each other's posts, told by one stream, at volume.
package main

import (
	"context"
	"fmt"
	"os"
	"time"
)

const (
	activities = 20_000
	// How many go once more, as after a crash that lost their results.
	repeated = 500
	limit    = 3 * time.Minute
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "feed:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	settings, err := readSettings()
	if err != nil {
		return err
	}
	connection, err := connect(settings)
	if err != nil {
		return err
	}
	defer connection.Close()
	feed := newFeed(connection)
	items := activity(activities)

	answers, err := stream(ctx, feed, items)
	if err != nil {
		return err
	}
	if err := judge(answers, items); err != nil {
		return err
	}
	return sendAgain(ctx, feed, items[:repeated], answers[:repeated])
}

// stream sends the items and says how it went.
func stream(ctx context.Context, feed *feed, items []*item) ([]answer, error) {
	begun := time.Now()
	answers, err := feed.send(ctx, items)
	if err != nil {
		return nil, err
	}
	took := time.Since(begun)
	seen("%d results for %d items in %.1f s: %.0f items/s, in frames of %d",
		len(answers), len(items), took.Seconds(), float64(len(items))/took.Seconds(), frameItems)
	if feed.mostWaiting > windowItems {
		return nil, missing("a window of %d items: %d were waiting", windowItems, feed.mostWaiting)
	}
	seen("never more than %d items without a result; the writer stood still for %.1f s in all",
		feed.mostWaiting, feed.stoodStill.Seconds())
	return answers, nil
}

// judge looks for one refusal, of the item that is wrong on purpose, and an id for each of the others.
func judge(answers []answer, items []*item) error {
	ids := make(map[string]bool, len(answers))
	for index, answer := range answers {
		wrong := index == wrongItem
		if answer.refused() != wrong {
			return missing("a good answer to %s: %v", items[index].GetItemId(), answer.err)
		}
		if wrong {
			if !answer.names("user_id") {
				return missing("the field user_id in the refusal of %s: %v", items[index].GetItemId(), answer.err)
			}
			seen("item %d refused, and the stream went on: %s", index, answer.err.GetMessage())
			continue
		}
		ids[answer.id] = true
	}
	if len(ids) != len(items)-1 {
		return missing("an id for each of %d items: there are %d", len(items)-1, len(ids))
	}
	seen("%d notifications on disk, each with an id of its own", len(ids))
	return nil
}

// sendAgain sends the same with the same keys, on another stream.
func sendAgain(ctx context.Context, feed *feed, items []*item, before []answer) error {
	again, err := feed.send(ctx, items)
	if err != nil {
		return err
	}
	for index, answer := range again {
		if answer.id != before[index].id {
			return missing("the id of before for %s: %s is not %s", items[index].GetItemId(), answer.id, before[index].id)
		}
	}
	seen("%d items sent again with the same keys have the same ids", len(again))
	return nil
}

func seen(format string, values ...any) {
	fmt.Printf(format+"\n", values...)
}

func missing(format string, values ...any) error {
	return fmt.Errorf("missing: "+format, values...)
}
