/// RequestReader: walks a JSON request and collects every violation with its field path, so that
/// all are reported at once. A getter that finds something wrong notes it and answers with nothing;
/// only finish() throws.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace muster {

/// What the walk found out, shared by all readers of one request.
struct RequestFindings {
  bool strict = false;  ///< the managed service's own caps hold too
  std::vector<std::string>
      violations;  ///< "ResourceLimits.MaxParallelTrainingJobs: must be at least 1, not 0"
  std::vector<std::string> notes;  ///< what is understood differently here, or has no meaning here
  /// Throws one Error(bad_input) with all violations.
  void finish(std::string_view what) const;
};

/// One object of the request. Borrowed: the document must outlive it.
class RequestReader {
 public:
  RequestReader(const nlohmann::ordered_json& value, std::string path, RequestFindings& findings);
  ~RequestReader();  ///< names the fields that nobody asked for
  RequestReader(const RequestReader&) = delete;
  RequestReader& operator=(const RequestReader&) = delete;

  bool has(const std::string& field) const;
  std::optional<std::string> text(const std::string& field, bool required = false);
  /// One of these words, or a violation that lists them.
  std::optional<std::string> word(const std::string& field, const std::vector<std::string>& words,
                                  bool required = false);
  std::optional<std::int64_t> integer(const std::string& field, std::int64_t least,
                                      bool required = false);
  std::optional<double> number(const std::string& field);
  std::optional<bool> boolean(const std::string& field);
  /// Strings by key, in the request's order.
  std::vector<std::pair<std::string, std::string>> map(const std::string& field);
  /// The object, or null; `path_of` names it.
  const nlohmann::ordered_json* object(const std::string& field, bool required = false);
  std::vector<const nlohmann::ordered_json*> list(const std::string& field, bool required = false);
  /// Fields that mean something to the service and nothing here.
  void ignore(const std::vector<std::string>& fields, std::string_view why);

  std::string path_of(const std::string& field) const;
  void violate(const std::string& field, std::string_view sentence);
  /// A cap of the service: a violation only where the request is read strictly.
  void cap(const std::string& field, bool holds, std::string_view sentence);
  void note(const std::string& field, std::string_view sentence);
  RequestFindings& findings() { return findings_; }

 private:
  const nlohmann::ordered_json* find(const std::string& field, bool required);
  const nlohmann::ordered_json& value_;
  std::string path_;
  RequestFindings& findings_;
  std::set<std::string> asked_;
};

}  // namespace muster
