/*
 * One value by one rule, in either direction.
 *
 * A conversion is known by the kinds of its two sides and the rule's numbers; the same function
 * goes both ways. So whether a value survives is not a matter of tables: what came out is converted
 * back and compared with what went in. "007" becomes 7, 7 becomes "7", which is another text: the
 * original is carried along. NaN's payload, the sign of zero, a half, an upper-case hex digit fall
 * out of the same test.
 *
 * Steps: text is read as what the other side is; numbers are scaled, in 128 bits between integers,
 * in double where one side is real; then they are written as the other side's kind. A number that
 * is past the ends of that kind comes out as its nearest value, and is said to be out of range;
 * text that does not parse comes out as nothing. What becomes of both is the rule's to say
 * (convert.c).
 *
 * Integers stay integers as long as both sides are; an overflow of the 128 bits ends at a number
 * that no kind can hold. Reals become integers by rounding to the nearest, halves to even.
 */
#include "translate/convert.h"

#include <float.h>
#include <math.h>

#define OUT_OF_SIGHT ((int128)1 << 100) /* past every integer type */

void scalar_clear(struct value *value)
{
    value->form = VALUE_NUMBER;
    value->number = 0;
    value->real = 0;
    value->bits = 0;
    value->nanos = 0;
    value->extra = value->inexact = false;
    value->data = value->scratch;
    value->bytes = 0;
    value->coding = CODING_NONE;
}

struct side {
    enum kind kind;
    enum form form;
};

static bool is_text(enum kind kind)
{
    return kind == KIND_STRING || kind == KIND_BYTES;
}

static bool is_real(enum kind kind)
{
    return kind == KIND_FLOAT || kind == KIND_DOUBLE;
}

static uint64_t real_bits(enum kind kind, double real)
{
    uint64_t bits;
    if (kind == KIND_FLOAT) {
        float single = (float)real;
        uint32_t narrow;
        memcpy(&narrow, &single, sizeof(narrow));
        return narrow;
    }
    memcpy(&bits, &real, sizeof(bits));
    return bits;
}

static void set_real(enum kind kind, double real, struct value *out)
{
    out->form = VALUE_REAL;
    out->real = real;
    out->bits = real_bits(kind, real);
}

/* ---- Numbers that an enum has, and names ---- */

static const struct program_pair *find_pair(const struct plan *plan, const struct program_map *map,
                                            int128 number)
{
    const struct program_pair *pairs = plan->pairs + map->pair_first;
    uint32_t low = 0, high = map->pair_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (pairs[middle].source < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low < map->pair_count && pairs[low].source == number ? &pairs[low] : NULL;
}

static enum domain map_number(const struct plan *plan, const struct program_map *map, int128 number,
                              struct value *out)
{
    const struct program_pair *pair = find_pair(plan, map, number);
    out->form = VALUE_NUMBER;
    out->number = pair ? pair->target : number;
    out->inexact = pair && (pair->flags & PAIR_LOST);
    if (pair)
        return pair->flags & PAIR_ALIEN    ? DOMAIN_ALIEN
               : pair->flags & PAIR_ABSENT ? DOMAIN_ABSENT
                                           : DOMAIN_GOOD;
    if (map->flags & MAP_CLOSED)
        return DOMAIN_ALIEN;
    if (map->flags & MAP_ABSENT)
        return DOMAIN_ABSENT;
    if (map->flags & MAP_OTHERWISE) {
        out->number = map->otherwise;
        out->inexact = true;
    }
    out->inexact |= (map->flags & MAP_ONE_WAY) != 0;
    return DOMAIN_GOOD;
}

static int compare_text(const uint8_t *a, size_t a_bytes, const uint8_t *b, size_t b_bytes)
{
    size_t bytes = a_bytes < b_bytes ? a_bytes : b_bytes;
    int order = bytes ? memcmp(a, b, bytes) : 0;
    return order ? order : (a_bytes > b_bytes) - (a_bytes < b_bytes);
}

static enum domain number_of_name(const struct plan *plan, const struct program_map *map,
                                  const struct value *in, struct value *out)
{
    uint32_t low = 0, high = map->name_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct program_name *name = &plan->names[map->name_first + middle];
        int order =
            compare_text(plan->text + name->text_first, name->text_bytes, in->data, in->bytes);
        if (order == 0) {
            out->form = VALUE_NUMBER;
            out->number = name->number;
            return DOMAIN_GOOD;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return DOMAIN_NOTHING;
}

static enum domain name_of_number(const struct plan *plan, const struct program_map *map,
                                  int128 number, struct value *out)
{
    const struct program_pair *pair = find_pair(plan, map, number);
    if (!pair || (uint32_t)pair->target >= map->name_count)
        return DOMAIN_NOTHING;
    const struct program_name *name = &plan->names[map->name_first + (uint32_t)pair->target];
    out->form = VALUE_TEXT;
    out->data = plan->text + name->text_first;
    out->bytes = name->text_bytes;
    return DOMAIN_GOOD;
}

/* ---- Reading text ---- */

static enum domain parse_bool(const struct value *in, struct value *out)
{
    bool yes = in->bytes == 4 && memcmp(in->data, "true", 4) == 0;
    if (!yes && !(in->bytes == 5 && memcmp(in->data, "false", 5) == 0))
        return DOMAIN_NOTHING;
    out->form = VALUE_NUMBER;
    out->number = yes;
    return DOMAIN_GOOD;
}

static enum domain parse(const struct plan *plan, const struct program_convert *convert,
                         struct side to, const struct value *in, struct value *out)
{
    if (to.kind == KIND_MESSAGE)
        return times_parse(to.form, in->data, in->bytes, out);
    if (to.kind == KIND_BOOL)
        return parse_bool(in, out);
    if (to.kind == KIND_ENUM && convert->map != PROGRAM_NONE)
        return number_of_name(plan, &plan->maps[convert->map], in, out);
    if (is_real(to.kind)) {
        enum domain domain =
            text_parse_real(in->data, in->bytes, to.kind == KIND_FLOAT, &out->real);
        set_real(to.kind, domain == DOMAIN_NOTHING ? 0 : out->real, out);
        return domain;
    }
    out->form = VALUE_NUMBER;
    return text_parse_number(in->data, in->bytes, &out->number) ? DOMAIN_GOOD : DOMAIN_NOTHING;
}

/* Text and bytes. */
static enum domain recode(const struct program_convert *convert, struct side from, struct side to,
                          const struct value *in, struct value *out)
{
    bool good = true, canonical = true;
    out->form = VALUE_TEXT;
    out->data = in->data;
    out->bytes = in->bytes;
    if (from.kind == to.kind)
        return DOMAIN_GOOD;
    if (from.kind == KIND_BYTES) {
        out->coding = convert->coding == 1   ? CODING_TO_BASE64
                      : convert->coding == 2 ? CODING_TO_HEX
                                             : CODING_NONE;
        if (out->coding == CODING_NONE)
            good = wire_check_string(in->data, in->bytes) == 0;
    } else if (convert->coding == 1) {
        good = text_is_base64(in->data, in->bytes, &canonical);
        out->coding = CODING_FROM_BASE64;
    } else if (convert->coding == 2) {
        good = text_is_hex(in->data, in->bytes, &canonical);
        out->coding = CODING_FROM_HEX;
    }
    out->inexact = !canonical;
    return good ? DOMAIN_GOOD : DOMAIN_NOTHING;
}

/* ---- Scaling ---- */

static int128 scale_number(const struct program_convert *convert, bool up, int128 number)
{
    int128 product;
    int64_t times = up ? convert->multiply : convert->divide;
    int64_t by = up ? convert->divide : convert->multiply;
    if (!up)
        number -= convert->offset;
    bool negative = (number < 0) != ((times < 0) != (by < 0));
    if (__builtin_mul_overflow(number, (int128)times, &product))
        return negative ? -OUT_OF_SIGHT : OUT_OF_SIGHT;
    number = product / by;
    return up ? number + convert->offset : number;
}

static double scale_real(const struct program_convert *convert, bool up, double real)
{
    double times = (double)convert->multiply, by = (double)convert->divide;
    double offset = (double)convert->offset;
    return up ? real * times / by + offset : (real - offset) * by / times;
}

static bool scales(const struct program_convert *convert)
{
    return convert->multiply != convert->divide || convert->offset != 0;
}

/* Halves to even. */
static int128 round_real(double real)
{
    if (real >= (double)OUT_OF_SIGHT || real <= -(double)OUT_OF_SIGHT)
        return real < 0 ? -OUT_OF_SIGHT : OUT_OF_SIGHT;
    int128 number = (int128)real;
    double rest = real - (double)number;
    if (rest > 0.5 || (rest == 0.5 && number % 2 != 0))
        number++;
    else if (rest < -0.5 || (rest == -0.5 && number % 2 != 0))
        number--;
    return number;
}

/* ---- Writing as a kind ---- */

static int128 clamp(int128 value, int128 least, int128 most)
{
    return value < least ? least : value > most ? most : value;
}

/* The nearest that an integer kind can hold. */
static int128 nearest(enum kind kind, int128 value)
{
    switch (kind) {
    case KIND_INT32:
    case KIND_ENUM:
    case KIND_SFIXED32:
    case KIND_SINT32:
        return clamp(value, INT32_MIN, INT32_MAX);
    case KIND_UINT32:
    case KIND_FIXED32:
        return clamp(value, 0, UINT32_MAX);
    case KIND_BOOL:
        return clamp(value, 0, 1);
    case KIND_UINT64:
    case KIND_FIXED64:
        return clamp(value, 0, UINT64_MAX);
    default:
        return clamp(value, INT64_MIN, INT64_MAX);
    }
}

bool scalar_fits(enum kind kind, int128 number)
{
    return nearest(kind, number) == number;
}

static enum domain to_real(struct side to, const struct value *in, struct value *out)
{
    double real = in->form == VALUE_REAL ? in->real : (double)in->number;
    double most = to.kind == KIND_FLOAT ? (double)FLT_MAX : DBL_MAX;
    bool over = to.kind == KIND_FLOAT && !isinf(real) && isinf((float)real);
    if (to.kind == KIND_FLOAT && in->form == VALUE_NUMBER)
        real = (double)(float)in->number;
    set_real(to.kind,
             over                    ? copysign(most, real)
             : to.kind == KIND_FLOAT ? (float)real
                                     : real,
             out);
    return over ? DOMAIN_RANGE : DOMAIN_GOOD;
}

static enum domain to_number(const struct plan *plan, const struct program_convert *convert,
                             struct side to, const struct value *in, struct value *out)
{
    if (in->form == VALUE_REAL && isnan(in->real))
        return DOMAIN_NOTHING;
    int128 number = in->form == VALUE_REAL ? round_real(in->real) : in->number;
    out->form = VALUE_NUMBER;
    out->number = nearest(to.kind, number);
    if (out->number != number)
        return DOMAIN_RANGE;
    bool strict = to.kind == KIND_ENUM && convert->map != PROGRAM_NONE &&
                  (plan->maps[convert->map].flags & MAP_STRICT);
    return strict && !find_pair(plan, &plan->maps[convert->map], number) ? DOMAIN_NOTHING
                                                                         : DOMAIN_GOOD;
}

static enum domain to_text(const struct plan *plan, const struct program_convert *convert,
                           struct side from, const struct value *in, struct value *out)
{
    if (from.kind == KIND_MESSAGE)
        return times_format(from.form, in, out);
    if (from.kind == KIND_ENUM && convert->map != PROGRAM_NONE)
        return name_of_number(plan, &plan->maps[convert->map], in->number, out);
    out->form = VALUE_TEXT;
    out->data = out->scratch;
    if (from.kind == KIND_BOOL) {
        out->bytes = in->number ? 4 : 5;
        memcpy(out->scratch, in->number ? "true" : "false", out->bytes);
    } else if (in->form == VALUE_REAL) {
        out->bytes = text_format_real(in->real, from.kind == KIND_FLOAT, out->scratch);
    } else {
        out->bytes = text_format_number(in->number, out->scratch);
    }
    return DOMAIN_GOOD;
}

/* Scales a number on its way, into *out. */
static enum domain scale(const struct program_convert *convert, bool up, bool as_real,
                         struct value *out)
{
    if (!scales(convert) || (out->form != VALUE_NUMBER && out->form != VALUE_REAL))
        return DOMAIN_GOOD;
    if (out->form == VALUE_NUMBER && !as_real) {
        out->number = scale_number(convert, up, out->number);
        return DOMAIN_GOOD;
    }
    double before = out->form == VALUE_REAL ? out->real : (double)out->number;
    double after = scale_real(convert, up, before);
    bool over = isfinite(before) && !isfinite(after);
    out->form = VALUE_REAL;
    out->real = over ? copysign(DBL_MAX, after) : after;
    return over ? DOMAIN_RANGE : DOMAIN_GOOD;
}

static void take(const struct value *in, struct value *middle)
{
    middle->form = in->form;
    middle->number = in->number;
    middle->real = in->real;
    middle->bits = in->bits;
    middle->nanos = in->nanos;
}

static enum domain worse(enum domain a, enum domain b)
{
    return a == DOMAIN_GOOD ? b : a;
}

enum domain scalar_convert(const struct plan *plan, const struct program_convert *convert,
                           bool back, const struct value *in, struct value *out)
{
    struct side from = {(enum kind)convert->kind, (enum form)convert->form};
    struct side to = {(enum kind)convert->written, (enum form)convert->written_form};
    bool up = !(convert->flags & CONVERT_DOWN) != back;
    scalar_clear(out);
    if (convert->mode == CONVERT_MAP)
        return map_number(plan, &plan->maps[convert->map], in->number, out);
    if (back) {
        struct side other = from;
        from = to;
        to = other;
    }
    if (from.kind == KIND_ENUM && convert->map != PROGRAM_NONE &&
        (plan->maps[convert->map].flags & MAP_CLOSED) &&
        !find_pair(plan, &plan->maps[convert->map], in->number))
        return DOMAIN_ALIEN;
    if (is_text(from.kind) && is_text(to.kind))
        return recode(convert, from, to, in, out);
    struct value middle;
    enum domain domain = DOMAIN_GOOD;
    scalar_clear(&middle);
    take(in, &middle);
    if (is_text(from.kind))
        domain = parse(plan, convert, to, in, &middle);
    else if (from.kind == KIND_MESSAGE && to.kind != KIND_STRING)
        domain = times_to_number(from.form, convert->unit, in, &middle.number);
    if (domain == DOMAIN_NOTHING)
        return domain;
    if (from.kind == KIND_MESSAGE && to.kind != KIND_STRING)
        middle.form = VALUE_NUMBER;
    domain = worse(domain, scale(convert, up, is_real(from.kind) || is_real(to.kind), &middle));
    if (is_text(to.kind))
        return worse(domain, to_text(plan, convert, from, &middle, out));
    if (to.kind == KIND_MESSAGE && middle.form == VALUE_NUMBER)
        return worse(domain, times_from_number(to.form, convert->unit, middle.number, out));
    if (to.kind == KIND_MESSAGE) {
        take(&middle, out);
        return domain;
    }
    return worse(domain, is_real(to.kind) ? to_real(to, &middle, out)
                                          : to_number(plan, convert, to, &middle, out));
}

bool scalar_equals(const struct value *a, const struct value *b)
{
    if (a->form != b->form)
        return false;
    switch (a->form) {
    case VALUE_NUMBER:
        return a->number == b->number;
    case VALUE_REAL:
        return a->bits == b->bits;
    case VALUE_TIME:
        return a->number == b->number && a->nanos == b->nanos;
    default:
        return a->bytes == b->bytes && (a->bytes == 0 || memcmp(a->data, b->data, a->bytes) == 0);
    }
}

bool scalar_comes_back(const struct plan *plan, const struct program_convert *convert,
                       const struct value *in, const struct value *out)
{
    if (out->inexact || in->extra)
        return false;
    /* Text between text is known by its coding. */
    if (convert->mode == CONVERT_MAP || (in->form == VALUE_TEXT && out->form == VALUE_TEXT))
        return true;
    struct value again;
    return scalar_convert(plan, convert, true, out, &again) == DOMAIN_GOOD &&
           scalar_equals(in, &again);
}

void scalar_otherwise(const struct plan *plan, const struct program_convert *convert,
                      struct value *out)
{
    enum kind kind = (enum kind)convert->written;
    scalar_clear(out);
    if (is_text(kind)) {
        out->form = VALUE_TEXT;
        out->data = plan->text + convert->text_first;
        out->bytes = convert->text_bytes;
    } else if (kind == KIND_MESSAGE) {
        out->form = VALUE_TIME;
        out->number = convert->otherwise;
        out->nanos = convert->otherwise_nanos;
    } else if (is_real(kind)) {
        double real;
        memcpy(&real, &convert->otherwise, sizeof(real));
        set_real(kind, real, out);
    } else {
        out->form = VALUE_NUMBER;
        out->number = kind == KIND_UINT64 || kind == KIND_FIXED64
                          ? (int128)(uint64_t)convert->otherwise
                          : convert->otherwise;
    }
}

void scalar_default(const struct program_convert *convert, struct value *out)
{
    enum kind kind = (enum kind)convert->written;
    scalar_clear(out);
    out->number = kind == KIND_ENUM ? convert->first : 0;
    out->form = is_text(kind)          ? VALUE_TEXT
                : kind == KIND_MESSAGE ? VALUE_TIME
                : is_real(kind)        ? VALUE_REAL
                                       : VALUE_NUMBER;
    if (is_real(kind))
        set_real(kind, 0, out);
}

bool scalar_is_default(const struct value *value)
{
    switch (value->form) {
    case VALUE_NUMBER:
        return value->number == 0;
    case VALUE_REAL:
        return value->bits == 0;
    case VALUE_TIME:
        return false; /* a message: it is there */
    default:
        return value->bytes == 0;
    }
}

uint64_t scalar_guard(const struct value *value)
{
    uint8_t chunk[TEXT_CHUNK_BYTES];
    uint64_t state = run_guard_text(NULL, 0);
    switch (value->form) {
    case VALUE_NUMBER:
        return run_guard_value((int64_t)value->number);
    case VALUE_REAL:
        return run_guard_value((int64_t)value->bits);
    case VALUE_TIME:
        state = run_guard_more(state, &value->number, 8);
        return run_guard_more(state, &value->nanos, 4) ^ value->extra;
    default:
        break;
    }
    if (value->coding == CODING_NONE)
        return run_guard_text(value->data, value->bytes);
    size_t offset = 0;
    for (size_t bytes; (bytes = text_chunk(value, &offset, chunk)) > 0;)
        state = run_guard_more(state, chunk, bytes);
    return state;
}
