/* The demo's two versions: what docs/TRANSLATION.md promises of each rule, by value. */
#include "plans.h"

/* Entries, the same in both versions. */
enum { GET, LIST, SEARCH, VISIT };

#define V1_PACKAGE &catalog__v1__package__descriptor
#define V2_PACKAGE &catalog__v2__package__descriptor

static struct versions catalog;

static int setup(void **state)
{
    (void)state;
    versions_init(&catalog, CATALOG_V1_SET, CATALOG_V2_SET);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    versions_deinit(&catalog);
    return 0;
}

static char *depends[] = {(char *)"libgcc-s1", (char *)"libcrypt1"};

static Catalog__V1__Package v1_package(void)
{
    Catalog__V1__Package package = CATALOG__V1__PACKAGE__INIT;
    package.id = (char *)"libc6:amd64";
    package.name = (char *)"libc6";
    package.architecture = (char *)"amd64";
    package.version = (char *)"2.36-9";
    package.section = (char *)"libs";
    package.priority = CATALOG__V1__PRIORITY__PRIORITY_OPTIONAL;
    package.installed_kib = 12988;
    package.maintainer = (char *)"GNU Libc Maintainers <debian-glibc@lists.debian.org>";
    package.homepage = (char *)"https://www.gnu.org/software/libc/libc.html";
    package.summary = (char *)"GNU C Library: Shared libraries";
    package.n_depends = 2;
    package.depends = depends;
    package.essential = 1;
    return package;
}

static Catalog__V2__Package v2_package(Catalog__V2__Contact *contact, Catalog__V2__Links *links)
{
    Catalog__V2__Package package = CATALOG__V2__PACKAGE__INIT;
    catalog__v2__contact__init(contact);
    catalog__v2__links__init(links);
    contact->name = (char *)"Ann Example";
    contact->email = (char *)"ann@example.org";
    links->homepage = (char *)"https://example.org";
    links->bugs = (char *)"https://example.org/bugs";
    package.name = (char *)"example";
    package.architecture = (char *)"all";
    package.version = (char *)"1.0";
    package.priority = CATALOG__V2__PRIORITY__PRIORITY_STANDARD;
    package.installed_bytes = 4096;
    package.maintainer = contact;
    package.links = links;
    package.synopsis = (char *)"an example";
    package.description = (char *)"a longer text";
    package.source = (char *)"example-src";
    return package;
}

/* Down to v1 through @edit, and up again. */
static Catalog__V2__Package *down_edit_up(const Catalog__V2__Package *package,
                                          void (*edit)(Catalog__V1__Package *))
{
    struct bytes in = pack(package);
    struct bytes down = must_run(catalog.down_replies, GET, in);
    Catalog__V1__Package *v1 = must_unpack(V1_PACKAGE, down);
    if (edit)
        edit(v1);
    struct bytes edited = pack(v1);
    struct bytes up = must_run(catalog.up_replies, GET, edited);
    Catalog__V2__Package *result = must_unpack(V2_PACKAGE, up);
    wire_free(v1);
    free(in.data);
    free(down.data);
    free(edited.data);
    free(up.data);
    return result;
}

static Catalog__V1__Package *down(const Catalog__V2__Package *package)
{
    struct bytes in = pack(package), out = must_run(catalog.down_replies, GET, in);
    Catalog__V1__Package *v1 = must_unpack(V1_PACKAGE, out);
    free(in.data);
    free(out.data);
    return v1;
}

static Catalog__V2__Package *up(const Catalog__V1__Package *package)
{
    struct bytes in = pack(package), out = must_run(catalog.up_replies, GET, in);
    Catalog__V2__Package *v2 = must_unpack(V2_PACKAGE, out);
    free(in.data);
    free(out.data);
    return v2;
}

/* v1 -> v2 -> v1 is the same, also through a v2 program that reads and writes it. */
static void assert_comes_back(const Catalog__V1__Package *package)
{
    struct bytes in = pack(package), there = must_run(catalog.up_replies, GET, in);
    struct bytes rewritten = canonical(V2_PACKAGE, there);
    struct bytes back = must_run(catalog.down_replies, GET, there);
    struct bytes back2 = must_run(catalog.down_replies, GET, rewritten);
    assert_true(same_message(V1_PACKAGE, in, back));
    assert_true(same_message(V1_PACKAGE, in, back2));
    free(in.data);
    free(there.data);
    free(rewritten.data);
    free(back.data);
    free(back2.data);
}

static void test_every_field_of_v1_arrives_in_v2(void **state)
{
    (void)state;
    Catalog__V1__Package package = v1_package();
    Catalog__V2__Package *v2 = up(&package);
    assert_string_equal(v2->name, "libc6");
    assert_string_equal(v2->architecture, "amd64");
    assert_string_equal(v2->version, "2.36-9");
    assert_string_equal(v2->section, "libs");
    assert_int_equal(v2->priority, CATALOG__V2__PRIORITY__PRIORITY_OPTIONAL);
    assert_true(v2->installed_bytes == UINT64_C(12988) * 1024);
    assert_string_equal(v2->maintainer->name, "GNU Libc Maintainers");
    assert_string_equal(v2->maintainer->email, "debian-glibc@lists.debian.org");
    assert_string_equal(v2->links->homepage, package.homepage);
    assert_string_equal(v2->synopsis, package.summary);
    assert_int_equal(v2->n_depends, 2);
    assert_string_equal(v2->depends[1], "libcrypt1");
    assert_true(v2->essential);
    assert_int_equal(v2->base.n_unknown_fields, 0); /* the id is what the template says */
    wire_free(v2);
    assert_comes_back(&package);
}

static void test_every_field_of_v2_arrives_in_v1(void **state)
{
    (void)state;
    Catalog__V2__Contact contact;
    Catalog__V2__Links links;
    Catalog__V2__Package package = v2_package(&contact, &links);
    Catalog__V1__Package *v1 = down(&package);
    assert_string_equal(v1->id, "example:all");
    assert_string_equal(v1->name, "example");
    assert_int_equal(v1->priority, CATALOG__V1__PRIORITY__PRIORITY_STANDARD);
    assert_int_equal(v1->installed_kib, 4);
    assert_string_equal(v1->maintainer, "Ann Example <ann@example.org>");
    assert_string_equal(v1->homepage, "https://example.org");
    assert_string_equal(v1->summary, "an example");
    wire_free(v1);
}

static void assert_v2_equal(const Catalog__V2__Package *a, const Catalog__V2__Package *b)
{
    struct bytes x = pack(a), y = pack(b);
    assert_int_equal(x.bytes, y.bytes);
    assert_memory_equal(x.data, y.data, x.bytes);
    free(x.data);
    free(y.data);
}

static void test_v2_comes_back_from_a_v1_program(void **state)
{
    (void)state;
    Catalog__V2__Contact contact;
    Catalog__V2__Links links;
    Catalog__V2__Package package = v2_package(&contact, &links);
    Catalog__V2__Package *v2 = down_edit_up(&package, NULL);
    assert_v2_equal(&package, v2);
    wire_free(v2);
}

static void test_maintainer_without_mail_keeps_its_text(void **state)
{
    (void)state;
    static const char *const texts[] = {"Ann",        "Ann <",    "Ann <>",
                                        " <a@b>",     "<a@b>",    "A <b> c",
                                        "A <B <c@d>", "Ann<a@b>", "Jos\xc3\xa9 <j@x>",
                                        " <>"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        Catalog__V1__Package package = v1_package();
        package.maintainer = (char *)texts[i];
        assert_comes_back(&package);
    }
    Catalog__V1__Package package = v1_package();
    package.maintainer = (char *)"Ann";
    Catalog__V2__Package *v2 = up(&package);
    assert_string_equal(v2->maintainer->name, "Ann");
    assert_string_equal(v2->maintainer->email, "");
    wire_free(v2);
}

static void test_contact_that_the_pattern_cannot_hold_comes_back(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"", ""}, {"A", ""}, {"", "a@b"}, {"A <b", "c"}, {"A", "b <c"}, {"A <b>", ""}, {"", "<x>"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Catalog__V2__Contact contact;
        Catalog__V2__Links links;
        Catalog__V2__Package package = v2_package(&contact, &links);
        contact.name = (char *)cases[i][0];
        contact.email = (char *)cases[i][1];
        Catalog__V2__Package *v2 = down_edit_up(&package, NULL);
        assert_v2_equal(&package, v2);
        wire_free(v2);
    }
}

static void edit_maintainer(Catalog__V1__Package *package)
{
    package->maintainer = (char *)"Bob <bob@example.org>";
}

static void remove_maintainer(Catalog__V1__Package *package)
{
    package->maintainer = (char *)"";
}

static void test_an_edited_text_wins_over_what_was_carried(void **state)
{
    (void)state;
    Catalog__V2__Contact contact;
    Catalog__V2__Links links;
    Catalog__V2__Package package = v2_package(&contact, &links);
    contact.name = (char *)"A";
    contact.email = (char *)"b <c"; /* has to be carried */
    Catalog__V2__Package *v2 = down_edit_up(&package, edit_maintainer);
    assert_string_equal(v2->maintainer->name, "Bob");
    assert_string_equal(v2->maintainer->email, "bob@example.org");
    wire_free(v2);
    v2 = down_edit_up(&package, remove_maintainer);
    assert_null(v2->maintainer);
    wire_free(v2);
}

static void raise_priority(Catalog__V1__Package *package)
{
    package->priority = CATALOG__V1__PRIORITY__PRIORITY_REQUIRED;
}

static void test_extra_priority_is_optional_in_v1_and_extra_again_in_v2(void **state)
{
    (void)state;
    Catalog__V2__Contact contact;
    Catalog__V2__Links links;
    Catalog__V2__Package package = v2_package(&contact, &links);
    package.priority = CATALOG__V2__PRIORITY__PRIORITY_EXTRA;
    Catalog__V1__Package *v1 = down(&package);
    assert_int_equal(v1->priority, CATALOG__V1__PRIORITY__PRIORITY_OPTIONAL);
    wire_free(v1);
    Catalog__V2__Package *v2 = down_edit_up(&package, NULL);
    assert_v2_equal(&package, v2);
    wire_free(v2);
    v2 = down_edit_up(&package, raise_priority);
    assert_int_equal(v2->priority, CATALOG__V2__PRIORITY__PRIORITY_REQUIRED);
    wire_free(v2);
}

static void test_every_priority_of_v1_comes_back(void **state)
{
    (void)state;
    static const int there[] = {0, 5, 4, 3, 2};
    for (int i = 0; i <= 4; i++) {
        Catalog__V1__Package package = v1_package();
        package.priority = (Catalog__V1__Priority)i;
        Catalog__V2__Package *v2 = up(&package);
        assert_int_equal(v2->priority, there[i]);
        wire_free(v2);
        assert_comes_back(&package);
    }
}

static void test_unknown_priority_never_becomes_a_valid_wrong_one(void **state)
{
    (void)state;
    Catalog__V1__Package package = v1_package();
    package.priority = (Catalog__V1__Priority)5; /* REQUIRED in v2, nothing in v1 */
    Catalog__V2__Package *v2 = up(&package);
    assert_int_equal(v2->priority, 0);
    wire_free(v2);
    assert_comes_back(&package);
    package.priority = (Catalog__V1__Priority)77; /* nothing in either */
    v2 = up(&package);
    assert_int_equal(v2->priority, 77);
    wire_free(v2);
    assert_comes_back(&package);
}

static void double_size(Catalog__V1__Package *package)
{
    package->installed_kib *= 2;
}

static void test_bytes_that_are_no_whole_kib_come_back_unless_edited(void **state)
{
    (void)state;
    Catalog__V2__Contact contact;
    Catalog__V2__Links links;
    Catalog__V2__Package package = v2_package(&contact, &links);
    package.installed_bytes = 4096 + 17;
    Catalog__V1__Package *v1 = down(&package);
    assert_int_equal(v1->installed_kib, 4);
    wire_free(v1);
    Catalog__V2__Package *v2 = down_edit_up(&package, NULL);
    assert_true(v2->installed_bytes == 4096 + 17);
    wire_free(v2);
    v2 = down_edit_up(&package, double_size);
    assert_true(v2->installed_bytes == 8192);
    wire_free(v2);
}

static void test_less_than_a_kib_comes_back_though_it_is_zero_in_between(void **state)
{
    (void)state;
    Catalog__V2__Contact contact;
    Catalog__V2__Links links;
    Catalog__V2__Package package = v2_package(&contact, &links);
    package.installed_bytes = 5;
    Catalog__V2__Package *v2 = down_edit_up(&package, NULL);
    assert_true(v2->installed_bytes == 5);
    wire_free(v2);
}

static void test_size_past_the_range_is_refused_and_the_last_one_in_it_is_not(void **state)
{
    (void)state;
    Catalog__V2__Package package = CATALOG__V2__PACKAGE__INIT;
    package.installed_bytes = (UINT64_C(1) << 42) - 1; /* 2^32 - 1 KiB and a remainder */
    Catalog__V1__Package *v1 = down(&package);
    assert_true(v1->installed_kib == UINT32_MAX);
    wire_free(v1);
    package.installed_bytes++;
    struct bytes in = pack(&package), out;
    struct plan_failure failure;
    assert_int_equal(run(catalog.down_replies, GET, in, &out, &failure), -ERANGE);
    assert_int_equal(failure.number, 6);
    free(in.data);
    Catalog__V1__Package most = v1_package();
    most.installed_kib = UINT32_MAX;
    assert_comes_back(&most);
}

static void test_id_that_the_template_does_not_give_comes_back(void **state)
{
    (void)state;
    static const char *const ids[] = {"", "libc6", "libc6:i386", ":", "x"};
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        Catalog__V1__Package package = v1_package();
        package.id = (char *)ids[i];
        assert_comes_back(&package);
    }
    Catalog__V1__Package empty = CATALOG__V1__PACKAGE__INIT;
    assert_comes_back(&empty);
    empty.id = (char *)"x";
    assert_comes_back(&empty);
}

static void test_id_follows_an_edited_name(void **state)
{
    (void)state;
    Catalog__V1__Package package = v1_package();
    package.id = (char *)"special";
    Catalog__V2__Package *v2 = up(&package);
    v2->name = (char *)"musl";
    Catalog__V1__Package *v1 = down(v2);
    assert_string_equal(v1->id, "musl:amd64");
    wire_free(v1);
    wire_free(v2);
}

static void edit_homepage(Catalog__V1__Package *package)
{
    package->homepage = (char *)"https://elsewhere.example";
}

static void remove_homepage(Catalog__V1__Package *package)
{
    package->homepage = (char *)"";
}

static void test_moved_field_is_edited_without_its_new_neighbours(void **state)
{
    (void)state;
    Catalog__V2__Contact contact;
    Catalog__V2__Links links;
    Catalog__V2__Package package = v2_package(&contact, &links);
    Catalog__V2__Package *v2 = down_edit_up(&package, edit_homepage);
    assert_string_equal(v2->links->homepage, "https://elsewhere.example");
    assert_string_equal(v2->links->bugs, "https://example.org/bugs");
    wire_free(v2);
    v2 = down_edit_up(&package, remove_homepage);
    assert_string_equal(v2->links->homepage, "");
    assert_string_equal(v2->links->bugs, "https://example.org/bugs");
    wire_free(v2);
}

static void test_empty_links_stay_there(void **state)
{
    (void)state;
    Catalog__V2__Contact contact;
    Catalog__V2__Links links;
    Catalog__V2__Package package = v2_package(&contact, &links);
    catalog__v2__links__init(&links);
    Catalog__V2__Package *v2 = down_edit_up(&package, NULL);
    assert_v2_equal(&package, v2);
    wire_free(v2);
    package.links = NULL;
    v2 = down_edit_up(&package, NULL);
    assert_null(v2->links);
    wire_free(v2);
}

static void test_lists_are_translated_element_by_element(void **state)
{
    (void)state;
    Catalog__V1__Package one = v1_package(), two = v1_package(), *list[] = {&one, &two};
    two.maintainer = (char *)"Bob";
    two.id = (char *)"odd";
    Catalog__V1__ListReply reply = CATALOG__V1__LIST_REPLY__INIT;
    reply.package = list;
    reply.n_package = 2;
    reply.total = 7;
    struct bytes in = pack(&reply), there = must_run(catalog.up_replies, LIST, in);
    Catalog__V2__ListReply *v2 = must_unpack(&catalog__v2__list_reply__descriptor, there);
    assert_int_equal(v2->n_package, 2);
    assert_string_equal(v2->package[1]->maintainer->name, "Bob");
    assert_int_equal(v2->total, 7);
    wire_free(v2);
    struct bytes back = must_run(catalog.down_replies, LIST, there);
    assert_true(same_message(&catalog__v1__list_reply__descriptor, in, back));
    free(in.data);
    free(there.data);
    free(back.data);
}

static void test_requests_go_both_ways(void **state)
{
    (void)state;
    Catalog__V1__ListRequest list = CATALOG__V1__LIST_REQUEST__INIT;
    list.section = (char *)"libs";
    list.priority = CATALOG__V1__PRIORITY__PRIORITY_REQUIRED;
    list.min_installed_kib = 3;
    list.limit = 50;
    struct bytes in = pack(&list), out = must_run(catalog.up_requests, LIST, in);
    Catalog__V2__ListRequest *v2 = must_unpack(&catalog__v2__list_request__descriptor, out);
    assert_string_equal(v2->section, "libs");
    assert_int_equal(v2->priority, CATALOG__V2__PRIORITY__PRIORITY_REQUIRED);
    assert_true(v2->min_installed_bytes == 3072);
    assert_int_equal(v2->page_size, 50);
    v2->maintainer_email = (char *)"a@b";
    struct bytes edited = pack(v2), back = must_run(catalog.down_requests, LIST, edited);
    Catalog__V1__ListRequest *v1 = must_unpack(&catalog__v1__list_request__descriptor, back);
    assert_int_equal(v1->min_installed_kib, 3);
    assert_int_equal(v1->limit, 50);
    wire_free(v1);
    wire_free(v2);
    free(in.data);
    free(out.data);
    free(edited.data);
    free(back.data);

    Catalog__V1__GetRequest get = CATALOG__V1__GET_REQUEST__INIT;
    get.name = (char *)"libc6";
    in = pack(&get);
    out = must_run(catalog.up_requests, GET, in);
    Catalog__V2__GetRequest *v2_get = must_unpack(&catalog__v2__get_request__descriptor, out);
    assert_string_equal(v2_get->package, "libc6");
    wire_free(v2_get);
    free(in.data);
    free(out.data);
}

static void test_unchanged_message_is_copied_byte_by_byte(void **state)
{
    (void)state;
    const uint8_t visits[] = {0x08, 0x85, 0x00, 0x7a, 1, 'x'}; /* padded, and an unknown field */
    struct bytes in = bytes_of(visits, sizeof(visits));
    struct bytes out = must_run(catalog.up_replies, VISIT, in);
    assert_int_equal(out.bytes, in.bytes);
    assert_memory_equal(out.data, in.data, in.bytes);
    free(in.data);
    free(out.data);
}

static void test_unknown_field_whose_number_is_taken_comes_back(void **state)
{
    (void)state;
    /* v1 knows no 13 (essential in v2) and no 40 (free). */
    const uint8_t unknown[] = {0x6a, 2, 'h', 'i', 0xc2, 0x02, 1, 'y', 0x12, 1, 'n'};
    struct bytes in = bytes_of(unknown, sizeof(unknown));
    struct bytes there = must_run(catalog.up_replies, GET, in);
    Catalog__V2__Package *v2 = must_unpack(V2_PACKAGE, there);
    assert_false(v2->essential);
    assert_string_equal(v2->name, "n");
    wire_free(v2);
    struct bytes back = must_run(catalog.down_replies, GET, there);
    assert_true(same_message(V1_PACKAGE, in, back));
    free(in.data);
    free(there.data);
    free(back.data);
}

static void test_later_version_of_the_sender_cannot_fake_a_field(void **state)
{
    (void)state;
    /* A v2 message with an unknown 77: v1 does not know it either, and gets it as unknown. One with
     * number 1 of the wrong wire type is no v2 message. */
    const uint8_t wrong[] = {0x08, 1};
    struct bytes in = bytes_of(wrong, sizeof(wrong)), out;
    assert_int_equal(run(catalog.down_replies, GET, in, &out, NULL), -EBADMSG);
    free(in.data);
}

static void test_classes_say_what_travels(void **state)
{
    (void)state;
    assert_int_equal(plan_class(catalog.up_replies), PLAN_CARRIED);
    assert_int_equal(plan_class(catalog.down_replies), PLAN_CARRIED);
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(plan_method(catalog.up_requests, i), i);
    assert_int_equal(plan_method(catalog.up_requests, 4), PLAN_METHOD_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_field_of_v1_arrives_in_v2),
        cmocka_unit_test(test_every_field_of_v2_arrives_in_v1),
        cmocka_unit_test(test_v2_comes_back_from_a_v1_program),
        cmocka_unit_test(test_maintainer_without_mail_keeps_its_text),
        cmocka_unit_test(test_contact_that_the_pattern_cannot_hold_comes_back),
        cmocka_unit_test(test_an_edited_text_wins_over_what_was_carried),
        cmocka_unit_test(test_extra_priority_is_optional_in_v1_and_extra_again_in_v2),
        cmocka_unit_test(test_every_priority_of_v1_comes_back),
        cmocka_unit_test(test_unknown_priority_never_becomes_a_valid_wrong_one),
        cmocka_unit_test(test_bytes_that_are_no_whole_kib_come_back_unless_edited),
        cmocka_unit_test(test_less_than_a_kib_comes_back_though_it_is_zero_in_between),
        cmocka_unit_test(test_size_past_the_range_is_refused_and_the_last_one_in_it_is_not),
        cmocka_unit_test(test_id_that_the_template_does_not_give_comes_back),
        cmocka_unit_test(test_id_follows_an_edited_name),
        cmocka_unit_test(test_moved_field_is_edited_without_its_new_neighbours),
        cmocka_unit_test(test_empty_links_stay_there),
        cmocka_unit_test(test_lists_are_translated_element_by_element),
        cmocka_unit_test(test_requests_go_both_ways),
        cmocka_unit_test(test_unchanged_message_is_copied_byte_by_byte),
        cmocka_unit_test(test_unknown_field_whose_number_is_taken_comes_back),
        cmocka_unit_test(test_later_version_of_the_sender_cannot_fake_a_field),
        cmocka_unit_test(test_classes_say_what_travels),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
