/*
 * The record of a package as the demo's catalogue serves it, and its conversion by hand. The
 * package is Debian 12's git, as `dpkg-query --status git` has it.
 */
#include "messages.h"

#include "catalog_v1.pb-c.h"
#include "catalog_v2.pb-c.h"

static const char *const depends[] = {
    "libc6 (>= 2.34)",         "libcurl3-gnutls (>= 7.56.1)", "libexpat1 (>= 2.0.1)",
    "libpcre2-8-0 (>= 10.34)", "zlib1g (>= 1:1.2.2)",         "perl",
    "liberror-perl",           "git-man (>> 1:2.39.5)",       "git-man (<< 1:2.39.5-.)",
};

static const char description[] =
    "Git is popular version control system designed to handle very large\n"
    "projects with speed and efficiency; it is used for many high profile\n"
    "open source projects, most notably the Linux kernel.\n"
    "\n"
    "Git falls in the category of distributed source code management tools.\n"
    "Every Git working directory is a full-fledged repository with full\n"
    "revision tracking capabilities, not dependent on network access or a\n"
    "central server.\n"
    "\n"
    "This package provides the git main components with minimal dependencies.\n"
    "Additional functionality, e.g. a graphical user interface and revision\n"
    "tree visualizer, tools for interoperating with other VCS's, or a web\n"
    "interface, is provided as separate git* packages.";

#define DEPENDS_COUNT (sizeof(depends) / sizeof(depends[0]))

void record_v1(struct packed *ret_packed)
{
    Catalog__V1__Package package = CATALOG__V1__PACKAGE__INIT;
    package.id = (char *)"git:amd64";
    package.name = (char *)"git";
    package.architecture = (char *)"amd64";
    package.version = (char *)"1:2.39.5-0+deb12u3";
    package.section = (char *)"vcs";
    package.priority = CATALOG__V1__PRIORITY__PRIORITY_OPTIONAL;
    package.installed_kib = 44890;
    package.maintainer = (char *)"Jonathan Nieder <jrnieder@gmail.com>";
    package.homepage = (char *)"https://git-scm.com/";
    package.summary = (char *)"fast, scalable, distributed revision control system";
    package.n_depends = DEPENDS_COUNT;
    package.depends = (char **)depends;
    messages_pack(&package.base, ret_packed);
}

void record_v2(struct packed *ret_packed)
{
    Catalog__V2__Package package = CATALOG__V2__PACKAGE__INIT;
    Catalog__V2__Contact maintainer = CATALOG__V2__CONTACT__INIT;
    Catalog__V2__Links links = CATALOG__V2__LINKS__INIT;
    maintainer.name = (char *)"Jonathan Nieder";
    maintainer.email = (char *)"jrnieder@gmail.com";
    links.homepage = (char *)"https://git-scm.com/";
    package.name = (char *)"git";
    package.architecture = (char *)"amd64";
    package.version = (char *)"1:2.39.5-0+deb12u3";
    package.section = (char *)"vcs";
    package.priority = CATALOG__V2__PRIORITY__PRIORITY_OPTIONAL;
    package.installed_bytes = UINT64_C(44890) * 1024;
    package.maintainer = &maintainer;
    package.links = &links;
    package.synopsis = (char *)"fast, scalable, distributed revision control system";
    package.description = (char *)description;
    package.n_depends = DEPENDS_COUNT;
    package.depends = (char **)depends;
    package.source = (char *)"git";
    messages_pack(&package.base, ret_packed);
}

/* ---- Up ---- */

static Catalog__V2__Priority priority_up(Catalog__V1__Priority priority)
{
    switch (priority) {
    case CATALOG__V1__PRIORITY__PRIORITY_REQUIRED:
        return CATALOG__V2__PRIORITY__PRIORITY_REQUIRED;
    case CATALOG__V1__PRIORITY__PRIORITY_IMPORTANT:
        return CATALOG__V2__PRIORITY__PRIORITY_IMPORTANT;
    case CATALOG__V1__PRIORITY__PRIORITY_STANDARD:
        return CATALOG__V2__PRIORITY__PRIORITY_STANDARD;
    case CATALOG__V1__PRIORITY__PRIORITY_OPTIONAL:
        return CATALOG__V2__PRIORITY__PRIORITY_OPTIONAL;
    default:
        return CATALOG__V2__PRIORITY__PRIORITY_UNSPECIFIED;
    }
}

size_t record_up(ProtobufCAllocator *allocator, const uint8_t *in, size_t bytes, uint8_t *out)
{
    Catalog__V1__Package *from = catalog__v1__package__unpack(allocator, bytes, in);
    if (!from)
        return 0;
    Catalog__V2__Package to = CATALOG__V2__PACKAGE__INIT;
    Catalog__V2__Contact maintainer = CATALOG__V2__CONTACT__INIT;
    Catalog__V2__Links links = CATALOG__V2__LINKS__INIT;
    to.name = from->name;
    to.version = from->version;
    to.architecture = from->architecture;
    to.section = from->section;
    to.priority = priority_up(from->priority);
    to.installed_bytes = (uint64_t)from->installed_kib * 1024;
    if (from->maintainer[0]) {
        messages_split(from->maintainer, &maintainer.name, &maintainer.email);
        to.maintainer = &maintainer;
    }
    if (from->homepage[0]) {
        links.homepage = from->homepage;
        to.links = &links;
    }
    to.synopsis = from->summary;
    to.n_depends = from->n_depends;
    to.depends = from->depends;
    to.essential = from->essential;
    bytes = catalog__v2__package__pack(&to, out);
    catalog__v1__package__free_unpacked(from, allocator);
    return bytes;
}

/* ---- Down ---- */

static Catalog__V1__Priority priority_down(Catalog__V2__Priority priority)
{
    switch (priority) {
    case CATALOG__V2__PRIORITY__PRIORITY_REQUIRED:
        return CATALOG__V1__PRIORITY__PRIORITY_REQUIRED;
    case CATALOG__V2__PRIORITY__PRIORITY_IMPORTANT:
        return CATALOG__V1__PRIORITY__PRIORITY_IMPORTANT;
    case CATALOG__V2__PRIORITY__PRIORITY_STANDARD:
        return CATALOG__V1__PRIORITY__PRIORITY_STANDARD;
    case CATALOG__V2__PRIORITY__PRIORITY_OPTIONAL:
    case CATALOG__V2__PRIORITY__PRIORITY_EXTRA:
        return CATALOG__V1__PRIORITY__PRIORITY_OPTIONAL;
    default:
        return CATALOG__V1__PRIORITY__PRIORITY_UNSPECIFIED;
    }
}

size_t record_down(ProtobufCAllocator *allocator, const uint8_t *in, size_t bytes, uint8_t *out)
{
    Catalog__V2__Package *from = catalog__v2__package__unpack(allocator, bytes, in);
    if (!from)
        return 0;
    Catalog__V1__Package to = CATALOG__V1__PACKAGE__INIT;
    char *maintainer = NULL;
    char *id = messages_join(allocator, from->name, ":", from->architecture, "");
    to.id = id;
    to.name = from->name;
    to.architecture = from->architecture;
    to.version = from->version;
    to.section = from->section;
    to.priority = priority_down(from->priority);
    to.installed_kib = (uint32_t)(from->installed_bytes / 1024);
    if (from->maintainer && from->maintainer->email[0])
        to.maintainer = maintainer =
            messages_join(allocator, from->maintainer->name, " <", from->maintainer->email, ">");
    else if (from->maintainer)
        to.maintainer = from->maintainer->name;
    if (from->links)
        to.homepage = from->links->homepage;
    to.summary = from->synopsis;
    to.n_depends = from->n_depends;
    to.depends = from->depends;
    to.essential = from->essential;
    bytes = catalog__v1__package__pack(&to, out);
    allocator->free(allocator->allocator_data, id);
    if (maintainer)
        allocator->free(allocator->allocator_data, maintainer);
    catalog__v2__package__free_unpacked(from, allocator);
    return bytes;
}
