package main

import (
	"fmt"
	"time"

	crown "crown.example/feed/gen/crown/notification/v1"
)

type item = crown.StreamItem

const (
	// The item whose recipient is no id of anybody.
	wrongItem = 7_777
	readers   = 400
)

// activity makes likes, comments and follows, each with a key of its own. One item is wrong on purpose.
func activity(count int) []*item {
	kinds := []struct{ name, title string }{
		{"like", "%s liked your post"},
		{"comment", "%s commented on your post"},
		{"follow", "%s follows you"},
	}
	// Keys of this run: another run is about other activity.
	begun := time.Now().UnixNano()
	items := make([]*item, count)
	for index := range items {
		kind, actor := kinds[index%len(kinds)], fmt.Sprintf("Person %d", index%1_000)
		items[index] = &item{
			ItemId: fmt.Sprintf("%s-%d", kind.name, index),
			Notification: &crown.SendNotificationRequest{
				Kind:           kind.name,
				Type:           crown.Channel_IN_APP,
				UserId:         fmt.Sprintf("reader-%d", index%readers),
				Data:           &crown.NotificationData{Title: fmt.Sprintf(kind.title, actor)},
				GroupKey:       fmt.Sprintf("post:%d:%s", index%readers, kind.name),
				IdempotencyKey: fmt.Sprintf("feed-%d-%d", begun, index),
			},
		}
	}
	if count > wrongItem {
		items[wrongItem].Notification.UserId = "nobody at all"
	}
	return items
}
