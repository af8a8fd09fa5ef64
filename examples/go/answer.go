package main

import (
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	rpc "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	crown "crown.example/feed/gen/crown/notification/v1"
)

// answer is what became of one item: an id, an error, or nothing yet.
type answer struct {
	id  string
	err *rpc.Status
}

func answerOf(result *crown.StreamResult) answer {
	return answer{id: result.GetNotificationId(), err: result.GetError()}
}

// isOpen: without a result, or with an error that says when to send it again.
func (answer answer) isOpen() bool {
	if answer.err == nil {
		return answer.id == ""
	}
	return detail(answer.err, &errdetails.RetryInfo{})
}

func (answer answer) refused() bool { return answer.err != nil }

// names tells whether the error is about this field.
func (answer answer) names(field string) bool {
	request := &errdetails.BadRequest{}
	if !detail(answer.err, request) {
		return false
	}
	for _, violation := range request.GetFieldViolations() {
		if strings.HasSuffix(violation.GetField(), field) {
			return true
		}
	}
	return false
}

// detail reads the detail of this type, where the error has one.
func detail(err *rpc.Status, into proto.Message) bool {
	for _, packed := range err.GetDetails() {
		if packed.MessageIs(into) {
			return anypb.UnmarshalTo(packed, into, proto.UnmarshalOptions{}) == nil
		}
	}
	return false
}
