#include "notifier.hpp"

#include <utility>

#include "problem.hpp"

namespace {

using Clock = std::chrono::system_clock;

void must(const grpc::Status& status) {
  if (!status.ok()) {
    throw Problem(status);
  }
}

}  // namespace

Notifier::Notifier(const std::string& target, std::string token) : token_(std::move(token)) {
  const auto channel = grpc::CreateChannel(target, grpc::InsecureChannelCredentials());
  if (!channel->WaitForConnected(Clock::now() + kDeadline)) {
    throw std::runtime_error("no gateway at " + target);
  }
  ingest_ = v1::IngestService::NewStub(channel);
  inbox_ = v1::InboxService::NewStub(channel);
}

void Notifier::prepare(grpc::ClientContext& context, std::chrono::milliseconds deadline) const {
  context.set_deadline(Clock::now() + deadline);
  context.AddMetadata("authorization", "Bearer " + token_);
}

std::string Notifier::send(const v1::SendNotificationRequest& request, std::chrono::milliseconds deadline) {
  grpc::ClientContext context;
  prepare(context, deadline);
  v1::SendNotificationResponse answer;
  must(ingest_->SendNotification(&context, request, &answer));
  return answer.notification_id();
}

v1::Notification Notifier::state(const std::string& notification_id) {
  grpc::ClientContext context;
  prepare(context, kDeadline);
  v1::GetNotificationRequest request;
  request.set_notification_id(notification_id);
  v1::GetNotificationResponse answer;
  must(ingest_->GetNotification(&context, request, &answer));
  return answer.notification();
}

v1::ListNotificationsResponse Notifier::inbox(const std::string& user_id) {
  grpc::ClientContext context;
  prepare(context, kDeadline);
  v1::ListNotificationsRequest request;
  request.set_user_id(user_id);
  v1::ListNotificationsResponse answer;
  must(inbox_->ListNotifications(&context, request, &answer));
  return answer;
}
