// The media service of an app: a video is ready, and its owner is told once, although the first call breaks off.
// Each step is proven by what is seen from outside.

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <stdexcept>
#include <string>
#include <thread>

#include "bad_line.hpp"
#include "notifier.hpp"
#include "problem.hpp"

namespace {

using std::chrono::milliseconds;

constexpr std::chrono::seconds kPatience{20};
constexpr milliseconds kPause{100};

// For a call whose answer will not come.
constexpr milliseconds kShortDeadline{1000};

std::string setting(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') {
    throw std::runtime_error(std::string(name) + " is not set");
  }
  return value;
}

void require(bool seen, const std::string& missing) {
  if (!seen) {
    throw std::runtime_error(missing);
  }
}

// A person of this run alone, whose inbox is empty.
std::string new_person(const std::string& name) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return "cpp-" + name + "-" + std::to_string(std::chrono::duration_cast<milliseconds>(now).count());
}

v1::SendNotificationRequest video_ready(const std::string& user_id) {
  v1::SendNotificationRequest request;
  request.set_kind("media_ready");
  request.set_user_id(user_id);
  request.mutable_data()->set_title("Your video is ready");
  request.mutable_data()->set_action_url("/videos/42");
  // What it tells of, so that whoever tells of it again says the same thing.
  request.set_idempotency_key("video-42-ready:" + user_id);
  return request;
}

// Sends it over a line on which the answer gets lost.
void send_in_vain(const v1::SendNotificationRequest& request) {
  BadLine line(setting("CROWN_TARGET"));
  Notifier notifier(line.address(), setting("CROWN_TOKEN_SERVICE"));
  line.break_answers();
  try {
    notifier.send(request, kShortDeadline);
  } catch (const Problem& problem) {
    require(problem.code == grpc::StatusCode::DEADLINE_EXCEEDED, problem.what());
    std::cout << "sent it, and no answer came within a second: it may have been accepted" << std::endl;
    return;
  }
  throw std::runtime_error("an answer came over a line that has none");
}

// The notification once every delivery of it is final.
v1::Notification settled(Notifier& notifier, const std::string& notification_id) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (std::chrono::steady_clock::now() < end) {
    auto found = notifier.state(notification_id);
    if (found.status() == v1::NotificationStatus::DONE) {
      return found;
    }
    std::this_thread::sleep_for(kPause);
  }
  throw std::runtime_error("not every delivery is final after 20 s");
}

// The id in the inbox of the person, who has nothing else there; empty where nothing comes within a second.
std::string arrived(Notifier& notifier, const std::string& user_id) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(1);
  while (std::chrono::steady_clock::now() < end) {
    const auto inbox = notifier.inbox(user_id);
    if (inbox.notifications_size() > 0) {
      return inbox.notifications(0).notification_id();
    }
    std::this_thread::sleep_for(kPause);
  }
  return "";
}

void tell_once(Notifier& notifier) {
  const auto request = video_ready(new_person("owner"));
  send_in_vain(request);
  const auto before = arrived(notifier, request.user_id());
  std::cout << (before.empty() ? "it was not" : "it was: the inbox has " + before) << std::endl;
  const auto first = notifier.send(request);
  require(before.empty() || first == before, "the retry is another notification: " + first);
  const auto second = notifier.send(request);
  require(first == second, "the same key got two ids: " + first + " and " + second);
  std::cout << "sent it twice more with the same key: one id, " << first << std::endl;

  const auto found = settled(notifier, first);
  for (const auto& delivery : found.deliveries()) {
    std::cout << "media_ready by " << v1::Channel::Type_Name(delivery.channel()) << ": "
              << v1::DeliveryState::Type_Name(delivery.state())
              << (delivery.reason().empty() ? "" : " (" + delivery.reason() + ")") << std::endl;
  }
  const auto inbox = notifier.inbox(request.user_id());
  require(inbox.total() == 1, "the inbox has " + std::to_string(inbox.total()) + " entries, not one");
  require(inbox.notifications(0).notification_id() == first, "the inbox has another notification");
  std::cout << "one entry in the inbox: " << inbox.notifications(0).data().title() << std::endl;
}

void be_refused(Notifier& notifier) {
  auto request = video_ready(new_person("refused"));
  request.mutable_data()->set_title(std::string(201, 'x'));
  try {
    notifier.send(request);
  } catch (const Problem& problem) {
    require(problem.reason == "INVALID_REQUEST", "the reason is " + problem.reason + ": " + problem.what());
    require(problem.violations.size() == 1 && problem.violations[0].field == "data.title",
            std::string("the field is not named: ") + problem.what());
    std::cout << "a title that is too long is refused, " << problem.reason << ": " << problem.violations[0].field
              << " " << problem.violations[0].description << std::endl;
    return;
  }
  throw std::runtime_error("a title that is too long was accepted");
}

}  // namespace

int main() {
  try {
    Notifier notifier(setting("CROWN_TARGET"), setting("CROWN_TOKEN_SERVICE"));
    tell_once(notifier);
    be_refused(notifier);
  } catch (const std::exception& error) {
    std::cerr << "media service: " << error.what() << std::endl;
    return 1;
  }
}
