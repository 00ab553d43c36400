/*
 * The record of a package, Debian 12's git again, in the first and the last of six versions.
 */
#include "messages.h"

#include "chain_v1.pb-c.h"
#include "chain_v6.pb-c.h"

static char *depends[] = {
    (char *)"libc6 (>= 2.34)",         (char *)"libcurl3-gnutls (>= 7.56.1)",
    (char *)"libexpat1 (>= 2.0.1)",    (char *)"libpcre2-8-0 (>= 10.34)",
    (char *)"zlib1g (>= 1:1.2.2)",     (char *)"perl",
    (char *)"liberror-perl",           (char *)"git-man (>> 1:2.39.5)",
    (char *)"git-man (<< 1:2.39.5-.)",
};

#define DEPENDS_COUNT (sizeof(depends) / sizeof(depends[0]))

void chain_first(struct packed *ret_packed)
{
    Chain__V1__Package package = CHAIN__V1__PACKAGE__INIT;
    package.id = (char *)"git:amd64";
    package.name = (char *)"git";
    package.version = (char *)"1:2.39.5-0+deb12u3";
    package.architecture = (char *)"amd64";
    package.section = (char *)"vcs";
    package.priority = CHAIN__V1__PRIORITY__PRIORITY_OPTIONAL;
    package.installed_kib = 44890;
    package.maintainer = (char *)"Jonathan Nieder <jrnieder@gmail.com>";
    package.n_depends = DEPENDS_COUNT;
    package.depends = depends;
    package.summary = (char *)"fast, scalable, distributed revision control system";
    package.homepage = (char *)"https://git-scm.com/";
    messages_pack(&package.base, ret_packed);
}

void chain_last(struct packed *ret_packed)
{
    Chain__V6__Contact maintainer = CHAIN__V6__CONTACT__INIT;
    Chain__V6__Links links = CHAIN__V6__LINKS__INIT;
    Chain__V6__Package package = CHAIN__V6__PACKAGE__INIT;
    maintainer.name = (char *)"Jonathan Nieder";
    maintainer.email = (char *)"jrnieder@gmail.com";
    links.homepage = (char *)"https://git-scm.com/";
    package.name = (char *)"git";
    package.version = (char *)"1:2.39.5-0+deb12u3";
    package.architecture = (char *)"amd64";
    package.section = (char *)"vcs";
    package.priority = CHAIN__V6__PRIORITY__PRIORITY_OPTIONAL;
    package.installed_bytes = UINT64_C(44890) * 1024;
    package.maintainer = &maintainer;
    package.n_depends = DEPENDS_COUNT;
    package.depends = depends;
    package.synopsis = (char *)"fast, scalable, distributed revision control system";
    package.links = &links;
    messages_pack(&package.base, ret_packed);
}
