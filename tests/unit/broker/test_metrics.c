/* The text of /metrics: its form, its escapes, and that its figures are the cells'. */
#include "peers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/histogram.h"
#include "broker/metrics.h"

static struct broker *broker;
static struct peer peer;

static int begin(void **state)
{
    (void)state;
    broker = broker_start(NULL);
    peer_join(&peer, broker, "counter");
    return 0;
}

static int end(void **state)
{
    (void)state;
    peer_leave(&peer);
    broker_free(broker);
    return 0;
}

static struct stats_cell *cell_of(unsigned index)
{
    ((struct stats_header *)peer.stats.base)->cell_count = index + 1;
    return (struct stats_cell *)((uint8_t *)peer.stats.base + STATS_CELLS_OFFSET) + index;
}

static struct stats_cell *make_cell(unsigned index, const char *method, uint32_t side)
{
    struct stats_cell *cell = cell_of(index);
    strcpy(cell->interface_name, "things");
    strcpy(cell->method, method);
    strcpy(cell->asked, "1.0.0");
    strcpy(cell->served, "2.0.0");
    cell->side = side;
    return cell;
}

/* The text, which ends; the caller's. */
static char *text_of(struct metrics *metrics)
{
    assert_false(metrics->failed);
    char *text = strndup(metrics->text, metrics->bytes);
    metrics_deinit(metrics);
    return text;
}

static char *all_of(bool open_metrics)
{
    struct metrics metrics = {.open_metrics = open_metrics};
    assert_int_equal(metrics_stats(&metrics, broker), 0);
    metrics_end(&metrics);
    return text_of(&metrics);
}

static void expect_line(const char *text, const char *line)
{
    size_t bytes = strlen(line);
    for (const char *at = text; (at = strstr(at, line)) != NULL; at++)
        if ((at == text || at[-1] == '\n') && at[bytes] == '\n')
            return;
    fail_msg("no line \"%s\" in:\n%s", line, text);
}

#define LABELS                                                                                     \
    "rpc_system_name=\"parley\",rpc_method=\"things/Get\",parley_interface=\"things\","            \
    "parley_version_asked=\"1.0.0\",parley_version_served=\"2.0.0\",parley_translation="

static void test_calls_are_by_status_and_faults_are_marked(void **state)
{
    (void)state;
    struct stats_cell *cell = make_cell(0, "Get", 0);
    cell->started = 14;
    cell->by_status[PARLEY_OK] = 9;
    cell->by_status[PARLEY_NOT_FOUND] = 1;
    cell->by_status[PARLEY_INTERNAL] = 2;
    cell->translation = 1 + PLAN_CARRIED;
    _cleanup_(freep) char *text = all_of(false);
    expect_line(text, "# TYPE parley_calls_total counter");
    expect_line(text, "parley_calls_total{" LABELS "\"carried\",parley_side=\"client\","
                      "rpc_response_status_code=\"OK\"} 9");
    expect_line(text, "parley_calls_total{" LABELS "\"carried\",parley_side=\"client\","
                      "rpc_response_status_code=\"NOT_FOUND\"} 1");
    expect_line(text, "parley_calls_total{" LABELS "\"carried\",parley_side=\"client\","
                      "rpc_response_status_code=\"INTERNAL\",error_type=\"INTERNAL\"} 2");
    expect_line(text,
                "parley_calls_started_total{" LABELS "\"carried\",parley_side=\"client\"} 14");
    expect_line(text, "parley_calls_in_flight{" LABELS "\"carried\",parley_side=\"client\"} 2");
    assert_null(strstr(text, "rpc_response_status_code=\"ABORTED\""));
}

static void test_histogram_counts_what_is_below_each_bound(void **state)
{
    (void)state;
    struct stats_cell *cell = make_cell(0, "Get", 1);
    cell->bucket[histogram_bucket(100)] = 1;
    cell->bucket[histogram_bucket(511)] = 2;
    cell->bucket[histogram_bucket(512)] = 4; /* at the bound: above it */
    cell->bucket[histogram_bucket(1500)] = 8;
    cell->bucket[HISTOGRAM_BUCKET_COUNT - 1] = 16; /* a minute and more */
    cell->latency_sum_ns = UINT64_C(12345678901);
    _cleanup_(freep) char *text = all_of(false);
#define DURATION "rpc_server_call_duration_seconds"
    expect_line(text, "# TYPE " DURATION " histogram");
    expect_line(text, DURATION "_bucket{" LABELS "\"unknown\",le=\"5.12e-07\"} 3");
    expect_line(text, DURATION "_bucket{" LABELS "\"unknown\",le=\"1.024e-06\"} 7");
    expect_line(text, DURATION "_bucket{" LABELS "\"unknown\",le=\"2.048e-06\"} 15");
    expect_line(text, DURATION "_bucket{" LABELS "\"unknown\",le=\"17.179869184\"} 15");
    expect_line(text, DURATION "_bucket{" LABELS "\"unknown\",le=\"+Inf\"} 31");
    expect_line(text, DURATION "_sum{" LABELS "\"unknown\"} 12.345678901");
    expect_line(text, DURATION "_count{" LABELS "\"unknown\"} 31");
    assert_null(strstr(text, "rpc_client_call_duration_seconds_count"));
}

static void test_what_endpoints_count_is_summed(void **state)
{
    (void)state;
    struct stats_header *header = peer.stats.base;
    header->wakeups = 3;
    header->doorbells = 4;
    header->channels = 5;
    header->spins_hit = 6;
    header->spins_missed = 7;
    header->ring_full = 8;
    struct stats_cell *cell = make_cell(0, "Get", 0);
    cell->crossing_count = 2;
    cell->crossing_sum_ns = 1500;
    _cleanup_(freep) char *text = all_of(false);
    expect_line(text, "parley_wakeups_total 3");
    expect_line(text, "parley_doorbells_total 4");
    expect_line(text, "parley_channel_ends 5");
    expect_line(text, "parley_spins_total{parley_spin=\"hit\"} 6");
    expect_line(text, "parley_spins_total{parley_spin=\"missed\"} 7");
    expect_line(text, "parley_ring_full_total 8");
    expect_line(text, "parley_endpoints 1");
    expect_line(text,
                "parley_crossings_timed_total{" LABELS "\"unknown\",parley_side=\"client\"} 2");
    expect_line(text, "parley_crossings_timed_seconds_total{" LABELS
                      "\"unknown\",parley_side=\"client\"} 0.000001500");

    /* Channels end with their endpoint; what was counted stays. */
    peer_leave(&peer);
    broker_settle(broker);
    _cleanup_(freep) char *later = all_of(false);
    expect_line(later, "parley_wakeups_total 3");
    expect_line(later, "parley_spins_total{parley_spin=\"missed\"} 7");
    expect_line(later, "parley_channel_ends 0");
}

static void test_forged_translation_is_unknown(void **state)
{
    (void)state;
    make_cell(0, "Get", 0)->translation = 77;
    _cleanup_(freep) char *text = all_of(false);
    expect_line(text, "parley_calls_started_total{" LABELS "\"unknown\",parley_side=\"client\"} 0");
}

static void test_label_values_are_escaped(void **state)
{
    (void)state;
    const struct label labels[] = {{"a", "x\\y\"z\nw"}, {"left_out", NULL}, {"b", ""}};
    struct metrics metrics = {0};
    metrics_family(&metrics, "odd", METRIC_GAUGE, "Odd.");
    metrics_count(&metrics, labels, 3, 1);
    metrics_value(&metrics, NULL, 0, 0.5);
    _cleanup_(freep) char *text = text_of(&metrics);
    assert_string_equal(text, "# HELP odd Odd.\n# TYPE odd gauge\n"
                              "odd{a=\"x\\\\y\\\"z\\nw\",b=\"\"} 1\nodd 0.5\n");
}

static void test_quotes_in_a_name_do_not_end_its_label(void **state)
{
    (void)state;
    make_cell(0, "G\"} 1\nevil{x=\"", 0);
    _cleanup_(freep) char *text = all_of(false);
    assert_null(strstr(text, "\nevil"));
    assert_non_null(strstr(text, "things/G\\\"} 1?evil{x=\\\"\""));
}

static void test_open_metrics_names_counters_otherwise_and_ends(void **state)
{
    (void)state;
    _cleanup_(freep) char *text = all_of(true);
    expect_line(text, "# TYPE parley_wakeups counter");
    expect_line(text, "parley_wakeups_total 0");
    assert_string_equal(text + strlen(text) - 6, "# EOF\n");
    _cleanup_(freep) char *plain = all_of(false);
    expect_line(plain, "# TYPE parley_wakeups_total counter");
    assert_null(strstr(plain, "# EOF"));
}

/* Every family is described once, and has its samples together. */
static void test_families_are_whole(void **state)
{
    (void)state;
    make_cell(0, "Get", 0);
    make_cell(1, "Get", 1);
    make_cell(2, "Put", 0);
    _cleanup_(freep) char *text = all_of(false);
    char *rest = text;
    char family[80] = "";
    for (char *line; (line = strsep(&rest, "\n")) != NULL && *line;) {
        if (strncmp(line, "# HELP ", 7) == 0) {
            snprintf(family, sizeof(family), "%.*s", (int)strcspn(line + 7, " "), line + 7);
            char described[100];
            snprintf(described, sizeof(described), "# HELP %s ", family);
            assert_null(rest ? strstr(rest, described) : NULL);
        } else if (line[0] != '#' && strncmp(line, family, strlen(family)) != 0) {
            fail_msg("\"%s\" is not of %s", line, family);
        }
    }
}

static void test_routes_and_instances_are_by_version(void **state)
{
    (void)state;
    _cleanup_(freep) char *text = all_of(false);
    expect_line(text, "# TYPE parley_route_share_ratio gauge");
    expect_line(text, "parley_contracts{parley_state=\"refused\"} 0");
    expect_line(text, "parley_guard_denied_total 0");
    expect_line(text, "parley_guard_limited_total{parley_limit=\"rate\"} 0");
    expect_line(text, "parley_guard_held_bad_total 0");
    expect_line(text, "parley_serve_instances 0");
    expect_line(text, "parley_serve_calls{parley_state=\"waiting\"} 0");
    expect_line(text, "parley_serve_answers_total{parley_answer=\"malformed\"} 0");
}

#define METRICS(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        METRICS(test_calls_are_by_status_and_faults_are_marked),
        METRICS(test_histogram_counts_what_is_below_each_bound),
        METRICS(test_what_endpoints_count_is_summed),
        METRICS(test_forged_translation_is_unknown),
        METRICS(test_label_values_are_escaped),
        METRICS(test_quotes_in_a_name_do_not_end_its_label),
        METRICS(test_open_metrics_names_counters_otherwise_and_ends),
        METRICS(test_families_are_whole),
        METRICS(test_routes_and_instances_are_by_version),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
