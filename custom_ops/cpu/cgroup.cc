#include "cpu/cgroup.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <sstream>

namespace frn {
namespace {

constexpr double kNoLimit = std::numeric_limits<double>::infinity();

std::string FirstLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// quota and period in microseconds; "max", a negative or no number is no limit.
double Ratio(const std::string& quota, const std::string& period) {
  const double time = std::strtod(quota.c_str(), nullptr);
  const double of = std::strtod(period.c_str(), nullptr);
  return time > 0 && of > 0 ? time / of : kNoLimit;
}

double QuotaV2(const std::string& group) {
  std::istringstream line(FirstLine(group + "/cpu.max"));  // "150000 100000" or "max 100000"
  std::string quota, period;
  line >> quota >> period;
  return Ratio(quota, period);
}

double QuotaV1(const std::string& group) {
  return Ratio(FirstLine(group + "/cpu.cfs_quota_us"), FirstLine(group + "/cpu.cfs_period_us"));
}

// The least quota from `group` up to the mount. In a container the mount is often the process's own
// group, and the path, which is the host's, leads nowhere: then the mount alone counts.
double LeastQuota(double (*read)(const std::string&), const std::string& mount, std::string group) {
  double least = read(mount);
  while (group.size() > 1) {
    least = std::min(least, read(mount + group));
    group.erase(group.rfind('/'));
  }
  return least;
}

bool HasController(const std::string& list, const std::string& name) {
  return ("," + list + ",").find("," + name + ",") != std::string::npos;
}

}  // namespace

double CpuQuota(const std::string& root) {
  double least = kNoLimit;
  const std::string mounts = root + "/sys/fs/cgroup";
  std::ifstream groups(root + "/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // "0::/path" or "4:cpu,cpuacct:/path"
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string group = line.substr(second + 1);
    if (group.empty() || group[0] != '/') continue;
    if (controllers.empty()) {
      // Beside version 1, version 2 is mounted at "unified".
      least = std::min({least, LeastQuota(QuotaV2, mounts, group),
                        LeastQuota(QuotaV2, mounts + "/unified", group)});
    } else if (HasController(controllers, "cpu")) {
      least = std::min({least, LeastQuota(QuotaV1, mounts + "/cpu", group),
                        LeastQuota(QuotaV1, mounts + "/" + controllers, group)});
    }
  }
  return least;
}

}  // namespace frn
