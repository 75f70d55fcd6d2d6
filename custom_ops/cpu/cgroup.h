// The CPU quota that Linux' control groups give a process: what containers are limited by.

#ifndef FRN_ONNX_CPU_CGROUP_H_
#define FRN_ONNX_CPU_CGROUP_H_

#include <string>

namespace frn {

// How many CPUs' time this process may use, 1.5 for example; infinity without a limit. The least of
// the quotas of its group and the groups around it, version 2 (cpu.max) and 1 (cpu.cfs_quota_us).
// root: what the paths /proc and /sys/fs/cgroup begin with, "" but for tests.
double CpuQuota(const std::string& root);

}  // namespace frn

#endif  // FRN_ONNX_CPU_CGROUP_H_
