/*
 * Which version a range means: of those with an instance, the one that fits the earliest
 * alternative, and of these the highest.
 *
 * The canary is looked for first, and the stable version is never the same one: so ranges may
 * overlap ("^1" and "^1.3"). What a completed rollout left in force is the stable version as long
 * as it is there, whatever the stable range says: the next canary is compared with what everybody
 * has.
 */
#include "rollout/internal.h"

#include <string.h>

bool versions_fits(const struct semver_ranges *ranges, const char *version)
{
    struct semver parsed;
    return semver_parse(version, &parsed) == 0 && semver_ranges_match(ranges, &parsed) >= 0;
}

/* Both are versions, and @a fits; "" is below all, and so is what does not fit. */
static bool better(const struct semver_ranges *ranges, const char *a, const char *b)
{
    struct semver left, right;
    if (semver_parse(a, &left) < 0)
        return false;
    int left_place = semver_ranges_match(ranges, &left);
    if (left_place < 0)
        return false;
    if (semver_parse(b, &right) < 0)
        return true;
    int right_place = semver_ranges_match(ranges, &right);
    if (right_place < 0 || left_place != right_place)
        return right_place < 0 || left_place < right_place;
    return semver_compare(&left, &right) > 0;
}

bool versions_better(const struct rollout_spec *spec, const char *a, const char *b)
{
    return better(spec->canary, a, b);
}

static const char *best(const struct rollout *rollout, const struct semver_ranges *ranges,
                        const char *but)
{
    const char *found = "";
    for (uint32_t i = 0; i < rollout->offer_count; i++)
        if (strcmp(rollout->offer[i], but) != 0 && better(ranges, rollout->offer[i], found))
            found = rollout->offer[i];
    return found;
}

const char *versions_canary(const struct rollout *rollout)
{
    return best(rollout, rollout->spec->canary, "");
}

const char *versions_stable(const struct rollout *rollout, const char *canary)
{
    if (rollout->promoted[0] && strcmp(rollout->promoted, canary) != 0 &&
        versions_has(rollout, rollout->promoted))
        return rollout->promoted;
    return best(rollout, rollout->spec->stable, canary);
}

bool versions_has(const struct rollout *rollout, const char *version)
{
    for (uint32_t i = 0; i < rollout->offer_count; i++)
        if (strcmp(rollout->offer[i], version) == 0)
            return true;
    return false;
}
