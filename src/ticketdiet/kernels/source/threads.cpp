// Threads. Which of them takes which index is left to chance where one is late; no sum ever depends on it.
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

// The indices of one call, in a share for each worker.
class Shares {
public:
    Shares(int64_t count, int64_t workers, const std::function<void(int64_t)>& work, bool backwards)
        : work_(work), count_(count), backwards_(backwards), taken_(static_cast<size_t>(workers)) {}

    // Do one's own share, and then what is left of the others'.
    void take(int64_t worker) {
        const int64_t workers = int64_t(taken_.size());
        for (int64_t other = 0; other < workers; ++other) {
            const int64_t share = (worker + other) % workers;
            const int64_t first = share * count_ / workers, end = (share + 1) * count_ / workers;
            for (int64_t at; (at = taken_[size_t(share)].number.fetch_add(1)) < end - first;)
                work_(backwards_ ? end - 1 - at : first + at);
        }
    }

private:
    struct alignas(64) Taken {
        std::atomic<int64_t> number{0};
    };
    const std::function<void(int64_t)>& work_;
    const int64_t count_;
    const bool backwards_;
    std::vector<Taken> taken_;
};

class Pool {
public:
    explicit Pool(int64_t helpers) {
        for (int64_t number = 0; number < helpers; ++number) std::thread([this, number] { serve(number); }).detach();
        helpers_ = helpers;
    }
    int64_t helpers() const { return helpers_; }

    void run(Shares& shares, int64_t helpers) {
        {
            std::lock_guard<std::mutex> hold(mutex_);
            shares_ = &shares, wanted_ = helpers;
            busy_.store(helpers);
            round_.fetch_add(1);
        }
        wake_.notify_all();
        shares.take(0);
        while (busy_.load(std::memory_order_acquire) != 0) std::this_thread::yield();
    }

private:
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
            shares_->take(number + 1);
            busy_.fetch_sub(1, std::memory_order_release);
        }
    }

    std::mutex mutex_;
    std::condition_variable wake_;
    std::atomic<int64_t> round_{0}, busy_{0};
    Shares* shares_ = nullptr;
    int64_t wanted_ = 0, helpers_ = 0;
};

typedef void (*Parallel)(void (*)(void*), void*, unsigned, unsigned);  // GOMP_parallel
typedef int (*Number)();                                                // omp_get_thread_num

Parallel of_torch = nullptr;
Number number_of_thread = nullptr;
std::mutex one_caller;
Pool* pool = nullptr;
pid_t owner = 0, owner_of_torch = 0;

void take(void* shares) { static_cast<Shares*>(shares)->take(number_of_thread()); }

}  // namespace

void parallel(int64_t count, int64_t threads, const std::function<void(int64_t)>& work, bool backwards) {
    const int64_t workers = threads < count ? threads : count;
    std::unique_lock<std::mutex> alone(one_caller, std::defer_lock);
    Shares shares(count, workers > 0 ? workers : 1, work, backwards);
    if (workers <= 1 || !alone.try_lock()) return shares.take(0);
    if (of_torch != nullptr && owner_of_torch == getpid()) return of_torch(take, &shares, unsigned(workers), 0);
    // A forked child has the pool's memory but none of its threads; the old pool is left alone, as its threads may use it.
    const int64_t helpers = workers - 1;
    if (pool == nullptr || owner != getpid() || pool->helpers() < helpers) pool = new Pool(helpers), owner = getpid();
    pool->run(shares, helpers);
}

// Use torch's OpenMP library from now on: its GOMP_parallel and omp_get_thread_num; null for threads of our own.
extern "C" void td_use_threads(Parallel parallel, Number number) {
    of_torch = parallel;
    number_of_thread = number;
    owner_of_torch = getpid();  // a forked child has none of these threads, and makes a pool
}
