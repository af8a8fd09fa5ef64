// The calls of the notification service that this one makes, each with a deadline and a token.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <string>

#include "crown/notification/v1/inbox_service.grpc.pb.h"
#include "crown/notification/v1/ingest_service.grpc.pb.h"

namespace v1 = crown::notification::v1;

// How long a call may take.
constexpr std::chrono::milliseconds kDeadline{5000};

class Notifier {
 public:
  // `target` is the gateway's host and port; `token` is a service's with notifications.send and inbox.read.
  Notifier(const std::string& target, std::string token);

  // Hands it in and answers its id. Throws Problem; where that is DEADLINE_EXCEEDED or UNAVAILABLE nobody here knows
  // whether it was accepted.
  std::string send(const v1::SendNotificationRequest& request, std::chrono::milliseconds deadline = kDeadline);

  // A notification that this service sent, with the state of each delivery. Throws Problem.
  v1::Notification state(const std::string& notification_id);

  // A person's inbox, newest first. Throws Problem.
  v1::ListNotificationsResponse inbox(const std::string& user_id);

 private:
  void prepare(grpc::ClientContext& context, std::chrono::milliseconds deadline) const;

  std::string token_;
  std::unique_ptr<v1::IngestService::Stub> ingest_;
  std::unique_ptr<v1::InboxService::Stub> inbox_;
};
