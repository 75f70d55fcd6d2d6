// How much of the machine this process may use.

#ifndef FRN_ONNX_CPU_MACHINE_H_
#define FRN_ONNX_CPU_MACHINE_H_

namespace frn {

// How many threads may run at once: the CPUs that the calling thread is allowed on
// (sched_getaffinity), and no more than the process's CPU quota (cgroup v2 and v1), rounded up.
// Read anew, the quota once a second at most: both can be changed while the process runs.
int AvailableThreads();

// Tells the CPU that this thread waits for another one.
inline void Pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace frn

#endif  // FRN_ONNX_CPU_MACHINE_H_
