/*
 * The checker: all executions of a scenario under C's memory model.
 *
 * What a load may return, and what is a data race, is in memory.c; what a state is, in state.c;
 * what the compiler calls, in hooks.c.
 *
 * How all executions are found. An execution is a list of choices: which thread goes on, which
 * value a load takes. The checker replays the scenario with every such list, depth first. Two
 * things keep that small, and lose nothing:
 *
 *   Threads are switched only in front of an atomic load, a sequentially consistent fence, a
 * doorbell and model_choose(). A store may as well happen right after what precedes it in its
 * thread: a load that would have come before it still finds the older value to choose.
 *
 *   An execution that comes to a state that is known ends there (state.c). So a loop that changes
 * nothing is cut off and not taken for an error; one in which everybody sleeps is one.
 *
 * test_litmus.c holds the checker against the classic examples: it must find each outcome that C
 * allows, and no other.
 *
 * Why not a ready-made one. relacy, which knows C11's memory model and is in Debian, has C++ types
 * of its own for what it checks: they cannot be laid over a ring in which one word is an atomic now
 * and payload a lap later. When it searches all executions it lets a load be one store behind at
 * most, and it merges no states: 20 steps on each side are 10^11 executions. SPIN and CBMC know no
 * acquire and release, so memory model and code would both be written by hand. Here the code is
 * what the compiler makes of bus/shm and bus/rpc: -fsanitize=thread has it call a function at each
 * access, and the functions are these instead of ThreadSanitizer's.
 */
#include "model/internal.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHOICES_MAX 4096
#define STEPS_MAX 20000 /* of one execution: more is a loop without an end */
#define TRACE_MAX 4096

struct world world = {.running = NOBODY};
static ucontext_t main_context;
static enum { ENDED, PRUNED, BROKEN } outcome;
static char broken_text[512];
static unsigned steps;
static struct verdict verdict;

/* ---- What happened: for people ---- */

struct event {
    uint32_t thread;
    const char *what;
    uint32_t offset; /* UINT32_MAX: none */
    uint64_t value;
    uint32_t behind; /* load: how many newer stores there were */
};
static struct event trace[TRACE_MAX];
static uint32_t trace_count;

void note(const char *what, uint32_t offset, uint64_t value, uint32_t behind)
{
    if (trace_count < TRACE_MAX)
        trace[trace_count++] = (struct event){world.running, what, offset, value, behind};
}

static void explain(void)
{
    printf("broken: %s\n", broken_text);
    for (uint32_t i = 0; i < trace_count; i++) {
        const struct event *event = &trace[i];
        char name[64] = "";
        if (event->offset != UINT32_MAX) {
            if (world.scenario->word_name)
                world.scenario->word_name(event->offset, name, sizeof(name));
            else
                snprintf(name, sizeof(name), "word %u", event->offset / WORD_BYTES);
        }
        printf("  %*s%u: %s", 4 * (int)event->thread, "", event->thread, event->what);
        if (event->offset != UINT32_MAX)
            printf(" %s", name);
        if (strstr(event->what, "fence") == NULL)
            printf(": %#llx", (unsigned long long)event->value);
        if (event->behind)
            printf(" (%u newer)", event->behind);
        printf("\n");
    }
}

static _Noreturn void leave(int how)
{
    outcome = how;
    world.running = NOBODY;
    setcontext(&main_context);
    abort();
}

void model_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(broken_text, sizeof(broken_text), format, args);
    va_end(args);
    if (world.running == NOBODY) { /* in begin() or end() */
        outcome = BROKEN;
        setcontext(&main_context);
        abort();
    }
    leave(BROKEN);
}

/* ---- Choices ---- */

struct choice {
    uint16_t count, index;
};
static struct choice choices[CHOICES_MAX];
static uint32_t choice_count, choice_depth;

unsigned choose(unsigned count)
{
    if (count == 1)
        return 0;
    if (choice_depth == choice_count) {
        if (choice_count == CHOICES_MAX)
            model_fail("an execution with too many choices");
        choices[choice_count++] = (struct choice){(uint16_t)count, 0};
    }
    assert(choices[choice_depth].count == count); /* or the scenario is not deterministic */
    return choices[choice_depth++].index;
}

/* Makes the next list of choices. False: that was the last. */
static bool choices_next(void)
{
    choice_count = choice_depth;
    while (choice_count > 0 && ++choices[choice_count - 1].index == choices[choice_count - 1].count)
        choice_count--;
    return choice_count > 0;
}

/* ---- Taking turns ---- */

static bool can_run(uint32_t index)
{
    const struct thread *thread = &world.threads[index];
    return !thread->ended && (thread->waits == NOBODY || world.bells[thread->waits].count > 0);
}

static void next_thread(void)
{
    uint32_t candidates[CHECKER_THREADS_MAX];
    unsigned count = 0;
    bool all_ended = true;
    if (++steps > STEPS_MAX)
        model_fail("it goes on for ever");
    for (uint32_t i = 0; i < world.thread_count; i++) {
        all_ended = all_ended && world.threads[i].ended;
        if (can_run(i))
            candidates[count++] = i;
    }
    if (all_ended)
        leave(ENDED);
    if (count == 0)
        model_fail("everybody sleeps: a wake-up was lost");
    /* Behind the choices that are replayed, nothing is known by this very execution. */
    if (choice_depth == choice_count) {
        if (!state_is_new())
            leave(PRUNED);
        verdict.states++;
    }
    world.running = candidates[choose(count)];
}

static __attribute__((noinline)) void machine_note(struct thread *thread)
{
    /* From the caller's frame on: behind what we saved of it, and where we return to. */
    thread->stack_from = (const uint8_t *)__builtin_frame_address(0) + 2 * sizeof(void *);
    thread->has_machine = false;
    next_thread();
}

/* Lets any thread that can run go on. */
__attribute__((noinline)) void turn(void)
{
    __builtin_unwind_init(); /* puts on the stack what callers keep in registers */
    uint32_t from = world.running;
    machine_note(&world.threads[world.running]);
    if (world.running != from)
        swapcontext(&world.threads[from].context, &world.threads[world.running].context);
}

static void thread_main(void)
{
    world.scenario->threads[world.running]();
    pending_settle();
    world.threads[world.running].ended = true;
    turn();
    abort(); /* nobody goes on with one that has ended */
}

/* ---- Doorbells and choices ---- */

unsigned choose_model(unsigned count)
{
    pending_settle();
    turn();
    unsigned chosen = choose(count);
    note("chooses", UINT32_MAX, chosen, 0);
    return chosen;
}

void bell_ring(unsigned index)
{
    struct bell *bell = &world.bells[index];
    pending_settle();
    turn();
    bell->count++;
    (void)tick();
    if (world.scenario->bell_orders)
        view_join(&bell->view, &world.threads[world.running].current);
    note("rings bell", UINT32_MAX, index, 0);
}

void bell_wait(unsigned index)
{
    pending_settle();
    note("waits for bell", UINT32_MAX, index, 0);
    world.threads[world.running].waits = index;
    turn();
    world.threads[world.running].waits = NOBODY;
}

bool bell_look(unsigned index, bool take)
{
    struct bell *bell = &world.bells[index];
    pending_settle();
    turn();
    bool rung = bell->count > 0;
    if (rung && take) {
        bell->count--;
        if (world.scenario->bell_orders)
            view_join(&world.threads[world.running].current, &bell->view);
    }
    note(!rung  ? "finds no ring of bell"
         : take ? "takes a ring of bell"
                : "sees a ring of bell",
         UINT32_MAX, index, 0);
    return rung;
}

/* ---- Executions ---- */

static void thread_init(uint32_t index)
{
    struct thread *thread = &world.threads[index];
    memset(&thread->current, 0, sizeof(thread->current));
    memset(&thread->acquired, 0, sizeof(thread->acquired));
    memset(&thread->released, 0, sizeof(thread->released));
    thread->has_released = false;
    thread->stack_from = NULL;
    thread->machine = (struct hash){0, 0};
    thread->has_machine = false;
    thread->ended = false;
    thread->waits = NOBODY;
    thread->pending_bytes = 0;
    if (!thread->stack) {
        thread->stack = malloc(STACK_BYTES);
        if (!thread->stack)
            abort();
    }
    memset(thread->stack, 0, STACK_BYTES);
    /* One for all, for the registers that a thread begins with end up on its stack. */
    static ucontext_t fresh;
    static bool have_fresh;
    if (!have_fresh)
        getcontext(&fresh);
    have_fresh = true;
    memcpy(&thread->context, &fresh, sizeof(fresh));
    thread->context.uc_stack.ss_sp = thread->stack;
    thread->context.uc_stack.ss_size = STACK_BYTES;
    thread->context.uc_link = NULL;
    makecontext(&thread->context, thread_main, 0);
}

static void execution_init(void)
{
    trace_count = 0;
    steps = 0;
    choice_depth = 0;
    memset(world.bells, 0, sizeof(world.bells));
    for (world.thread_count = 0;
         world.thread_count < CHECKER_THREADS_MAX && world.scenario->threads[world.thread_count];)
        thread_init(world.thread_count++);
    verdict.executions++;
}

/* The first turn belongs to no thread. */
static void start(void)
{
    world.running = choose(world.thread_count);
    setcontext(&world.threads[world.running].context);
    abort();
}

static void execute(void)
{
    volatile bool started = false;
    volatile bool checked = false;
    execution_init();
    getcontext(&main_context); /* returns a second time when the execution is over, see leave() */
    if (!started) {
        started = true;
        outcome = ENDED;
        world.scenario->begin();
        memory_init();
        start();
    }
    if (!checked && outcome == ENDED && world.scenario->end) {
        checked = true;
        world.scenario->end();
    }
}

struct verdict checker_run(const struct scenario *which)
{
    world.scenario = which;
    verdict = (struct verdict){0};
    choice_count = 0;
    states_forget();
    uint64_t ends = 0;
    do {
        execute();
        ends += outcome == ENDED;
        if (outcome == BROKEN) {
            verdict.broken = true;
            if (which->name)
                explain();
            break;
        }
    } while (choices_next());
    if (ends == 0 && !verdict.broken) {
        printf("no execution comes to its end\n");
        verdict.broken = true;
    }
    if (which->name) {
        printf("%s: %s; %llu states, %llu executions\n", which->name,
               verdict.broken ? "broken" : "proved", (unsigned long long)verdict.states,
               (unsigned long long)verdict.executions);
        fflush(stdout);
    }
    return verdict;
}
