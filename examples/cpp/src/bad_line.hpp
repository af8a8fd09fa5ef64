// A line to the gateway that can go bad in one direction: what is said arrives, and no answer comes back. It is how a
// caller meets a network that breaks after the request; a real service has no need to make one.
#pragma once

#include <atomic>
#include <string>
#include <thread>

class BadLine {
 public:
  // Takes one connection on the loopback address and passes it on to `target`, a host and a port.
  explicit BadLine(const std::string& target);
  ~BadLine();
  BadLine(const BadLine&) = delete;
  BadLine& operator=(const BadLine&) = delete;

  // Where to connect, in place of the target.
  const std::string& address() const { return address_; }

  // From now on no answer arrives.
  void break_answers() { broken_ = true; }

 private:
  void carry();

  int listener_;
  int server_;
  std::string address_;
  std::atomic<bool> broken_{false};
  std::atomic<bool> over_{false};
  std::thread carrier_;
};
