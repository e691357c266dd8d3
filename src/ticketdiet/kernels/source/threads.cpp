// A small pool of threads. Which thread takes which index is left to chance; no sum ever depends on it.
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <unistd.h>
#include <vector>

#include "common.hpp"

namespace {

constexpr int SPINS = 2000;  // a few microseconds: longer than the gap between two kernels, shorter than a time slice

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
            for (int spin = 0; spin < SPINS && round_.load(std::memory_order_relaxed) == seen; ++spin) {
            }
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

std::mutex one_caller;
Pool* pool = nullptr;
pid_t owner = 0;

}  // namespace

void parallel(int64_t count, int64_t threads, const std::function<void(int64_t)>& work) {
    const int64_t helpers = (threads < count ? threads : count) - 1;
    std::unique_lock<std::mutex> alone(one_caller, std::defer_lock);
    if (helpers <= 0 || !alone.try_lock()) {
        for (int64_t index = 0; index < count; ++index) work(index);
        return;
    }
    // A forked child has the pool's memory but none of its threads; the old pool is left alone, as its threads may use it.
    if (pool == nullptr || owner != getpid() || pool->helpers() < helpers) pool = new Pool(helpers), owner = getpid();
    pool->run(count, helpers, work);
}
