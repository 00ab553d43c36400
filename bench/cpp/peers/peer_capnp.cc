/*
 * Cap'n Proto RPC over a unix socket, by its EzRpc classes: one thread and one event loop a side.
 * Many at once are promises; each, when it is kept, starts the next call.
 */
#include <cstring>
#include <string>

#include <capnp/ez-rpc.h>
#include <kj/async.h>

#include "peer_echo.capnp.h"

extern "C" {
#include "peer.h"
}

namespace
{

/* ---- The service ---- */

class Service final : public Echo::Server
{
  public:
    kj::Promise<void> echo(EchoContext context) override
    {
        context.getResults().setPayload(context.getParams().getPayload());
        return kj::READY_NOW;
    }
};

int serve(const struct bench_run *, struct peer_place *place)
{
    capnp::EzRpcServer server(kj::heap<Service>(), "unix:" + std::string(place->path));
    auto &scope = server.getWaitScope();
    server.getPort().wait(scope); /* it listens */
    peer_ready(place);
    kj::NEVER_DONE.wait(scope);
}

/* ---- One after the other ---- */

struct Caller {
    capnp::EzRpcClient client;
    Echo::Client echo;
    uint32_t bytes;

    Caller(const struct bench_run *run, const struct peer_place *place)
        : client("unix:" + std::string(place->path)), echo(client.getMain<Echo>()),
          bytes(run->load.bytes)
    {
    }

    auto request(uint32_t i)
    {
        auto made = echo.echoRequest();
        peer_mark(made.initPayload(bytes).begin(), bytes, i);
        return made;
    }

    bool is_echo(capnp::Data::Reader payload, uint32_t i) const
    {
        return peer_is_marked(payload.begin(), payload.size(), bytes, i);
    }
};

int fail(struct bench_run *run, const char *what)
{
    return error_set(run->error, -1, "Cap'n Proto: %s", what);
}

int call(struct bench_run *run, void *data, uint32_t i)
{
    auto *caller = static_cast<Caller *>(data);
    auto reply = caller->request(i).send().wait(caller->client.getWaitScope());
    return caller->is_echo(reply.getPayload(), i) ? 0 : fail(run, "another message came back");
}

int ask(struct bench_run *run, struct peer_place *place)
{
    try {
        Caller caller(run, place);
        return peer_time(run, call, &caller);
    } catch (kj::Exception &exception) {
        return fail(run, exception.getDescription().cStr());
    }
}

int run_echo(struct bench_run *run)
{
    return peer_run(run, serve, ask, nullptr);
}

/* ---- Many at once ---- */

class Stream final : kj::TaskSet::ErrorHandler
{
  public:
    Stream(struct bench_run *run, const struct peer_place *place)
        : run(run), caller(run, place), tasks(*this)
    {
        flow_init(&flow, run);
    }

    int drive()
    {
        auto ended = kj::newPromiseAndFulfiller<void>();
        done = kj::mv(ended.fulfiller);
        start();
        ended.promise.wait(caller.client.getWaitScope());
        return failed ? -1 : 0;
    }

  private:
    void start()
    {
        while (!failed && flow_may_start(&flow)) {
            uint32_t number = flow_start(&flow);
            tasks.add(caller.request(number).send().then(
                [this, number](auto &&reply) { end(reply.getPayload(), number); }));
        }
    }

    void end(capnp::Data::Reader payload, uint32_t number)
    {
        if (!caller.is_echo(payload, number))
            failed = fail(run, "another message came back") != 0;
        else if (flow_end(&flow, number) != 0)
            failed = true;
        start();
        if (failed || flow_done(&flow))
            done->fulfill();
    }

    void taskFailed(kj::Exception &&exception) override
    {
        failed = fail(run, exception.getDescription().cStr()) != 0;
        done->fulfill();
    }

    struct bench_run *run;
    Caller caller;
    struct flow flow;
    bool failed = false;
    kj::Own<kj::PromiseFulfiller<void>> done;
    kj::TaskSet tasks;
};

int ask_flow(struct bench_run *run, struct peer_place *place)
{
    try {
        Stream stream(run, place);
        return stream.drive();
    } catch (kj::Exception &exception) {
        return fail(run, exception.getDescription().cStr());
    }
}

int run_flow(struct bench_run *run)
{
    return peer_run(run, serve, ask_flow, nullptr);
}

/* ---- At a rate ---- */

class Paced final : kj::TaskSet::ErrorHandler
{
  public:
    Paced(struct bench_run *run, const struct peer_place *place)
        : run(run), caller(run, place), tasks(*this)
    {
    }

    int drive()
    {
        auto &scope = caller.client.getWaitScope();
        int r = call(run, &caller, 0); /* it connects with the first */
        if (r == 0)
            r = pace_init(&pace, run);
        while (r == 0 && !failed && pace_goes_on(&pace)) {
            while (pace_may_start(&pace))
                start(pace_start(&pace));
            scope.poll();
            pace_wait(&pace);
        }
        if (r == 0 && !failed)
            pace_finish(&pace);
        return failed ? -1 : r;
    }

  private:
    void start(uint32_t number)
    {
        tasks.add(caller.request(number).send().then([this, number](auto &&reply) {
            if (!caller.is_echo(reply.getPayload(), number))
                failed = fail(run, "another message came back") != 0;
            else if (pace_end(&pace, number) != 0)
                failed = true;
        }));
    }

    void taskFailed(kj::Exception &&exception) override
    {
        failed = fail(run, exception.getDescription().cStr()) != 0;
    }

    struct bench_run *run;
    Caller caller;
    struct pace pace;
    bool failed = false;
    kj::TaskSet tasks;
};

int ask_paced(struct bench_run *run, struct peer_place *place)
{
    try {
        Paced paced(run, place);
        return paced.drive();
    } catch (kj::Exception &exception) {
        return fail(run, exception.getDescription().cStr());
    }
}

int run_paced(struct bench_run *run)
{
    return peer_run(run, serve, ask_paced, nullptr);
}

} // namespace

extern "C" const struct peer peer_capnp = {
    .name = "capnp",
    .about = "Cap'n Proto, unix socket",
    .package = nullptr,
    .placements = PEER_ALL,
    .echo_count = 3000,
    .flow_count = 1000,
    .bytes_max = PEER_BYTES_MAX,
    .echo = run_echo,
    .asleep = run_echo,
    .flow = run_flow,
    .paced = run_paced,
    .paced_placement = BENCH_APART,
};
