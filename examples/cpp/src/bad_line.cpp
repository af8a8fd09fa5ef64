#include "bad_line.hpp"

#include <arpa/inet.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <stdexcept>

namespace {

// How long it takes at most to notice that it is over.
constexpr int kLookMs = 20;

int connect_to(const std::string& target) {
  const auto colon = target.rfind(':');
  addrinfo wanted{};
  wanted.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (colon == std::string::npos ||
      getaddrinfo(target.substr(0, colon).c_str(), target.substr(colon + 1).c_str(), &wanted, &found) != 0) {
    throw std::runtime_error("no such address: " + target);
  }
  int connected = -1;
  for (const auto* one = found; one != nullptr && connected < 0; one = one->ai_next) {
    const int descriptor = socket(one->ai_family, one->ai_socktype, one->ai_protocol);
    if (connect(descriptor, one->ai_addr, one->ai_addrlen) == 0) {
      connected = descriptor;
    } else {
      close(descriptor);
    }
  }
  freeaddrinfo(found);
  if (connected < 0) {
    throw std::runtime_error("nobody listens at " + target);
  }
  return connected;
}

// Reads what is there and writes all of it. False where one of the two has ended.
bool pass(int from, int to, bool heard) {
  char bytes[16384];
  const auto count = recv(from, bytes, sizeof bytes, 0);
  if (count <= 0) {
    return false;
  }
  for (ssize_t done = 0; heard && done < count;) {
    const auto written = send(to, bytes + done, count - done, MSG_NOSIGNAL);
    if (written <= 0) {
      return false;
    }
    done += written;
  }
  return true;
}

}  // namespace

BadLine::BadLine(const std::string& target) : listener_(socket(AF_INET, SOCK_STREAM, 0)), server_(connect_to(target)) {
  sockaddr_in where{};
  where.sin_family = AF_INET;
  where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof where;
  auto* address = reinterpret_cast<sockaddr*>(&where);
  if (bind(listener_, address, size) != 0 || listen(listener_, 1) != 0 ||
      getsockname(listener_, address, &size) != 0) {
    throw std::runtime_error("no port on the loopback address");
  }
  address_ = "127.0.0.1:" + std::to_string(ntohs(where.sin_port));
  carrier_ = std::thread([this] { carry(); });
}

BadLine::~BadLine() {
  over_ = true;
  carrier_.join();
  close(listener_);
  close(server_);
}

void BadLine::carry() {
  pollfd knock{listener_, POLLIN, 0};
  while (poll(&knock, 1, kLookMs) <= 0) {
    if (over_) {
      return;
    }
  }
  const int client = accept(listener_, nullptr, nullptr);
  pollfd ends[] = {{client, POLLIN, 0}, {server_, POLLIN, 0}};
  for (bool open = true; open && !over_;) {
    if (poll(ends, 2, kLookMs) <= 0) {
      continue;
    }
    if (ends[0].revents != 0) {
      open = pass(client, server_, true);
    }
    if (open && ends[1].revents != 0) {
      open = pass(server_, client, !broken_);
    }
  }
  close(client);
}
