/*
 * gRPC over a unix socket, without TLS.
 *
 * The server is the one that its guide recommends for speed: asynchronous, a completion queue, one
 * thread, with calls accepted ahead. One after the other, the client is a blocking stub, as a
 * program that waits for its reply would have it; many at once, it is asynchronous as well, with
 * one queue and one thread.
 */
#include <cstring>
#include <memory>
#include <string>

#include <grpcpp/grpcpp.h>

#include "peer_echo.grpc.pb.h"

extern "C" {
#include "peer.h"
}

namespace
{

using peer_echo::Echo;
using peer_echo::EchoMessage;

constexpr int ACCEPTED_AHEAD = 256;

/* ---- The server ---- */

/* One call that is accepted, then answered; then the object takes the next. */
struct Answer {
    Echo::AsyncService *service;
    grpc::ServerCompletionQueue *queue;
    std::unique_ptr<grpc::ServerContext> context;
    EchoMessage message;
    std::unique_ptr<grpc::ServerAsyncResponseWriter<EchoMessage>> writer;
    bool answering = false;

    void accept()
    {
        answering = false;
        context = std::make_unique<grpc::ServerContext>();
        writer = std::make_unique<grpc::ServerAsyncResponseWriter<EchoMessage>>(context.get());
        service->RequestEcho(context.get(), &message, writer.get(), queue, queue, this);
    }

    void step()
    {
        if (answering) {
            accept();
            return;
        }
        answering = true;
        writer->Finish(message, grpc::Status::OK, this);
    }
};

int serve(const struct bench_run *, struct peer_place *place)
{
    Echo::AsyncService service;
    grpc::ServerBuilder builder;
    builder.AddListeningPort("unix:" + std::string(place->path), grpc::InsecureServerCredentials());
    builder.RegisterService(&service);
    auto queue = builder.AddCompletionQueue();
    auto server = builder.BuildAndStart();
    if (!server)
        return -1;
    static Answer answers[ACCEPTED_AHEAD];
    for (Answer &answer : answers) {
        answer.service = &service;
        answer.queue = queue.get();
        answer.accept();
    }
    peer_ready(place);
    void *tag;
    bool fine;
    while (queue->Next(&tag, &fine) && fine)
        static_cast<Answer *>(tag)->step();
    return -1;
}

/* ---- One after the other ---- */

struct Caller {
    std::unique_ptr<Echo::Stub> stub;
    EchoMessage request, reply;
    std::string *payload;

    Caller(const struct bench_run *run, const struct peer_place *place)
        : stub(Echo::NewStub(grpc::CreateChannel("unix:" + std::string(place->path),
                                                 grpc::InsecureChannelCredentials()))),
          payload(request.mutable_payload())
    {
        payload->resize(peer_payload_bytes(run));
    }

    bool is_echo(const EchoMessage &message, uint32_t i) const
    {
        return peer_is_marked(message.payload().data(), message.payload().size(), payload->size(),
                              i);
    }
};

int fail(struct bench_run *run, const grpc::Status &status)
{
    return error_set(run->error, -1, "gRPC: %s",
                     status.ok() ? "another message came back" : status.error_message().c_str());
}

int call(struct bench_run *run, void *data, uint32_t i)
{
    auto *caller = static_cast<Caller *>(data);
    grpc::ClientContext context;
    peer_mark(&(*caller->payload)[0], caller->payload->size(), i);
    grpc::Status status = caller->stub->Echo(&context, caller->request, &caller->reply);
    return status.ok() && caller->is_echo(caller->reply, i) ? 0 : fail(run, status);
}

int ask(struct bench_run *run, struct peer_place *place)
{
    Caller caller(run, place);
    return peer_time(run, call, &caller);
}

int run_echo(struct bench_run *run)
{
    return peer_run(run, serve, ask, nullptr);
}

/* ---- Many at once ---- */

struct Call {
    grpc::ClientContext context;
    grpc::Status status;
    EchoMessage reply;
    std::unique_ptr<grpc::ClientAsyncResponseReader<EchoMessage>> reader;
    uint32_t number;
};

void start_call(uint32_t number, Caller &caller, grpc::CompletionQueue &queue)
{
    auto *call = new Call;
    call->number = number;
    peer_mark(&(*caller.payload)[0], caller.payload->size(), call->number);
    call->reader = caller.stub->AsyncEcho(&call->context, caller.request, &queue);
    call->reader->Finish(&call->reply, &call->status, call);
}

int end_call(struct flow *flow, const Caller &caller, void *tag)
{
    std::unique_ptr<Call> call(static_cast<Call *>(tag));
    if (!call->status.ok() || !caller.is_echo(call->reply, call->number))
        return fail(flow->run, call->status);
    return flow_end(flow, call->number);
}

int ask_flow(struct bench_run *run, struct peer_place *place)
{
    struct flow flow;
    Caller caller(run, place);
    /* Never shut down: after a failure there are calls in it, and the process ends anyway. */
    auto *queue = new grpc::CompletionQueue;
    int r = 0;
    flow_init(&flow, run);
    while (r == 0 && !flow_done(&flow)) {
        void *tag;
        bool fine;
        while (flow_may_start(&flow))
            start_call(flow_start(&flow), caller, *queue);
        r = queue->Next(&tag, &fine) ? end_call(&flow, caller, tag) : -1;
    }
    return r;
}

int run_flow(struct bench_run *run)
{
    return peer_run(run, serve, ask_flow, nullptr);
}

/* ---- At a rate ---- */

/* What has come, and never waits for more. */
int take_paced(struct pace *pace, const Caller &caller, grpc::CompletionQueue &queue)
{
    void *tag;
    bool fine;
    while (queue.AsyncNext(&tag, &fine, gpr_time_0(GPR_CLOCK_MONOTONIC)) ==
           grpc::CompletionQueue::GOT_EVENT) {
        std::unique_ptr<Call> call(static_cast<Call *>(tag));
        if (!call->status.ok() || !caller.is_echo(call->reply, call->number))
            return fail(pace->run, call->status);
        if (pace_end(pace, call->number) != 0)
            return -1;
    }
    return 0;
}

int ask_paced(struct bench_run *run, struct peer_place *place)
{
    struct pace pace;
    Caller caller(run, place);
    auto *queue = new grpc::CompletionQueue; /* as above */
    int r = call(run, &caller, 0);           /* it connects with the first */
    if (r == 0)
        r = pace_init(&pace, run);
    while (r == 0 && pace_goes_on(&pace)) {
        while (pace_may_start(&pace))
            start_call(pace_start(&pace), caller, *queue);
        r = take_paced(&pace, caller, *queue);
        pace_wait(&pace);
    }
    if (r == 0)
        pace_finish(&pace);
    return r;
}

int run_paced(struct bench_run *run)
{
    return peer_run(run, serve, ask_paced, nullptr);
}

} // namespace

extern "C" const struct peer peer_grpc = {
    .name = "grpc",
    .about = "gRPC, unix socket",
    .package = nullptr,
    .placements = PEER_ALL,
    .echo_count = 1500,
    .flow_count = 1300,
    .bytes_max = PEER_BYTES_MAX,
    .echo = run_echo,
    .asleep = run_echo,
    .flow = run_flow,
    .paced = run_paced,
    .paced_placement = BENCH_ANYWHERE,
};
