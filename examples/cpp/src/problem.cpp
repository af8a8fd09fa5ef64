#include "problem.hpp"

#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>

namespace {

std::string in_words(const grpc::Status& status) {
  return "code " + std::to_string(status.error_code()) + ": " + status.error_message();
}

}  // namespace

Problem::Problem(const grpc::Status& status) : std::runtime_error(in_words(status)), code(status.error_code()) {
  google::rpc::Status told;
  told.ParseFromString(status.error_details());
  for (const auto& detail : told.details()) {
    if (google::rpc::ErrorInfo info; detail.UnpackTo(&info)) {
      reason = info.reason();
    }
    if (google::rpc::BadRequest refused; detail.UnpackTo(&refused)) {
      for (const auto& one : refused.field_violations()) {
        violations.push_back({one.field(), one.description()});
      }
    }
  }
}
