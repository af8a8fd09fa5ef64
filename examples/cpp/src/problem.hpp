// What went wrong with a call, as the details of its status tell it.
#pragma once

#include <grpcpp/grpcpp.h>

#include <stdexcept>
#include <string>
#include <vector>

// One field that the service did not like, and why.
struct Violation {
  std::string field;
  std::string description;
};

// A call that failed. `reason` is stable and is what a program decides by; it is empty where nobody told one.
class Problem : public std::runtime_error {
 public:
  explicit Problem(const grpc::Status& status);

  grpc::StatusCode code;
  std::string reason;
  std::vector<Violation> violations;
};
