// Threads. Which of them takes which index is left to chance; no sum ever depends on it.
//
// torch's own threads are used where its OpenMP library is GNU's: between two of torch's operations they look for more work
// without sleeping, and would fight with other threads for the cores. Elsewhere there is a small pool.
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <unistd.h>
#include <vector>

#include "common.hpp"

namespace {

// How long a helper looks for more work before it sleeps: longer than the gap between two kernels of one training step,
// as waking a sleeping thread takes as long as a small kernel. It gives way to other threads while it looks.
constexpr std::chrono::microseconds PATIENCE(1000);

class Pool {
public:
    explicit Pool(int64_t helpers) {
        for (int64_t number = 0; number < helpers; ++number) std::thread([this, number] { serve(number); }).detach();
        helpers_ = helpers;
    }
    int64_t helpers() const { return helpers_; }

    void run(int64_t count, int64_t helpers, const std::function<void(int64_t)>& work) {
        {
            std::lock_guard<std::mutex> hold(mutex_);
            work_ = &work, count_ = count, wanted_ = helpers;
            next_.store(0), busy_.store(helpers);
            round_.fetch_add(1);
        }
        wake_.notify_all();
        take();
        while (busy_.load(std::memory_order_acquire) != 0) std::this_thread::yield();
    }

private:
    void take() {
        for (int64_t index; (index = next_.fetch_add(1)) < count_;) (*work_)(index);
    }

    void serve(int64_t number) {
        for (int64_t seen = 0;;) {
            const auto until = std::chrono::steady_clock::now() + PATIENCE;
            while (round_.load(std::memory_order_acquire) == seen && std::chrono::steady_clock::now() < until)
                std::this_thread::yield();
            bool wanted;
            {
                std::unique_lock<std::mutex> hold(mutex_);
                wake_.wait(hold, [&] { return round_.load() != seen; });
                seen = round_.load();
                wanted = number < wanted_;
            }
            if (!wanted) continue;
            take();
            busy_.fetch_sub(1, std::memory_order_release);
        }
    }

    std::mutex mutex_;
    std::condition_variable wake_;
    std::atomic<int64_t> round_{0}, next_{0}, busy_{0};
    const std::function<void(int64_t)>* work_ = nullptr;
    int64_t count_ = 0, wanted_ = 0, helpers_ = 0;
};

typedef void (*Parallel)(void (*)(void*), void*, unsigned, unsigned);  // GOMP_parallel

struct Shared {
    const std::function<void(int64_t)>& work;
    int64_t count;
    std::atomic<int64_t> next{0};
};

void take(void* data) {
    Shared& shared = *static_cast<Shared*>(data);
    for (int64_t index; (index = shared.next.fetch_add(1)) < shared.count;) shared.work(index);
}

Parallel of_torch = nullptr;
std::mutex one_caller;
Pool* pool = nullptr;
pid_t owner = 0, owner_of_torch = 0;

}  // namespace

void parallel(int64_t count, int64_t threads, const std::function<void(int64_t)>& work) {
    const int64_t helpers = (threads < count ? threads : count) - 1;
    std::unique_lock<std::mutex> alone(one_caller, std::defer_lock);
    if (helpers <= 0 || !alone.try_lock()) {
        for (int64_t index = 0; index < count; ++index) work(index);
        return;
    }
    if (of_torch != nullptr && owner_of_torch == getpid()) {
        Shared shared{work, count};
        of_torch(take, &shared, unsigned(helpers + 1), 0);
        return;
    }
    // A forked child has the pool's memory but none of its threads; the old pool is left alone, as its threads may use it.
    if (pool == nullptr || owner != getpid() || pool->helpers() < helpers) pool = new Pool(helpers), owner = getpid();
    pool->run(count, helpers, work);
}

// Use `parallel`, the GOMP_parallel of torch's OpenMP library, from now on; null for threads of our own.
extern "C" void td_use_threads(Parallel parallel) {
    of_torch = parallel;
    owner_of_torch = getpid();  // a forked child has none of these threads, and makes a pool
}
