/*
 * The loop of the short way, which unpack_quick.c includes twice: LOOP_WAITS 0 and 1, whether what
 * has been read of the message is looked at again at its end. Not one function for both, and no
 * inline one, for it jumps to labels whose addresses are in a table: next to no instruction is left
 * between two fields. It is long, for what is jumped to has to be in it.
 *
 * Each field jumps straight to the way of the next one. Whatever is not as the way expects jumps to
 * `undo`, with `at` at the field's beginning. What a value may do past the message's end is to be
 * read (there are readable bytes behind it); NEXT sees it before anything comes of it, and the long
 * way says what is wrong.
 */

#define NEXT()                                                                                     \
    do {                                                                                           \
        if (__builtin_expect(pos >= stop, 0))                                                      \
            goto edge;                                                                             \
        at = pos;                                                                                  \
        tag = *pos;                                                                                \
        if (!LOOP_WAITS)                                                                           \
            *own(pos) = 0; /* a string may end here */                                             \
        way = find_quick(quick, tag);                                                              \
        if (__builtin_expect(way->tag != tag, 0))                                                  \
            goto wide;                                                                             \
        goto *ways[way->way];                                                                      \
    } while (0)

/* The text at @pos, to `text`; what needs more than one look is looked at elsewhere. */
#define READ_TEXT()                                                                                \
    do {                                                                                           \
        text = (struct span){pos + 2, pos[1]};                                                     \
        if (__builtin_expect(plain_bytes(text.data) < (uint32_t)text.bytes, 0) &&                  \
            !is_longer_plain(text)) {                                                              \
            text = unpack_read_text(u, pos + 1, here.end);                                                \
            if (!text.data)                                                                        \
                goto undo;                                                                         \
        }                                                                                          \
        pos = text.data + text.bytes;                                                              \
    } while (0)

#define END_LATER()                                                                                \
    do {                                                                                           \
        if (LOOP_WAITS)                                                                            \
            *later++ = own(pos);                                                                   \
    } while (0)

/* Before others look at them. */
#define KEEP_LATER()                                                                               \
    do {                                                                                           \
        if (LOOP_WAITS)                                                                            \
            u->terminators_end = later;                                                            \
    } while (0)

#define READ_VARINT()                                                                              \
    do {                                                                                           \
        raw = pos[1];                                                                              \
        pos += 2;                                                                                  \
        if (raw >= 0x80) {                                                                         \
            pos = fast_read_varint(pos - 1, &raw);                                                      \
            if (__builtin_expect(!pos, 0))                                                         \
                goto undo;                                                                         \
        }                                                                                          \
    } while (0)

/* One value of a singular field, and that there is one. */
#define STORE(store, value)                                                                        \
    do {                                                                                           \
        store32(message + way->quantifier, 1);                                                     \
        store(message + way->offset, value);                                                       \
        here.fields++;                                                                             \
    } while (0)

/* What was converted, for the slot. */
#define KEEP(is_lost)                                                                              \
    do {                                                                                           \
        if (LOOP_WAITS && way->slot != PROGRAM_SLOT_NONE)                                          \
            keep_number(&here.slots[way->slot], at, pos, raw, mapped, is_lost);                    \
    } while (0)

int LOOP_NAME(struct unpack *u, const struct bound_table *table, uint8_t *message,
              const uint8_t *pos, const uint8_t *end, unsigned depth, const struct reading *before)
{
    static const void *const ways[QUICK_COUNT] = {
        [QUICK_NONE] = &&other,
        [QUICK_STRING] = &&string,
        [QUICK_NOTED] = &&noted,
        [QUICK_TEXT] = &&text,
        [QUICK_STRINGS] = &&strings,
        [QUICK_BYTES] = &&bytes,
        [QUICK_INT32] = &&int32,
        [QUICK_SINT32] = &&sint32,
        [QUICK_INT64] = &&int64,
        [QUICK_SINT64] = &&sint64,
        [QUICK_BOOL] = &&boolean,
        [QUICK_FIXED32] = &&fixed32,
        [QUICK_FIXED64] = &&fixed64,
        [QUICK_MULTIPLY32] = &&multiply32,
        [QUICK_MULTIPLY64] = &&multiply64,
        [QUICK_DIVIDE32] = &&divide32,
        [QUICK_DIVIDE64] = &&divide64,
        [QUICK_MAP] = &&map,
        [QUICK_MESSAGE] = &&message,
        [QUICK_MESSAGES] = &&messages,
        [QUICK_TAKEN] = &&taken,
        [QUICK_CARRIED] = &&carried,
    };
    const struct quick *const quick = table->quick;
    struct frame frame;
    struct reading here;
    const uint8_t *at = pos, *stop;
    uint8_t **later = NULL;
    const struct quick *way;
    struct span text;
    uint8_t *member;
    uint64_t raw, mapped;
    uint8_t tag;
    int r;
    here.table = table;
    here.message = message;
    here.start = pos;
    here.end = end;
    here.frame = NULL;
    here.room = &frame;
    here.slots = NULL;
    here.required = here.pieces = 0;
    here.fields = 0;
    here.depth = depth;
    here.owner = table->owner;
    if (before) {
        here = *before;
        here.room = &frame;
    } else if (LOOP_WAITS) {
        r = unpack_open(u, &here);
        if (r < 0)
            return r;
    }
    if (LOOP_WAITS)
        later = u->terminators_end;
    goto edge;

string:
    READ_TEXT();
    memcpy(message + way->offset, &text.data, sizeof(text.data));
    END_LATER();
    here.fields++;
    NEXT();
noted:
    READ_TEXT();
    memcpy(message + way->offset, &text.data, sizeof(text.data));
    END_LATER();
    if (LOOP_WAITS)
        run_keep(&here.slots[way->slot], text.data, (uint32_t)text.bytes);
    here.fields++;
    NEXT();
text:
    READ_TEXT();
    if (LOOP_WAITS)
        run_keep(&here.slots[way->slot], text.data, (uint32_t)text.bytes);
    if (u->growing.at == at)
        u->growing.at = pos; /* nothing was stored */
    here.fields++;
    NEXT();
strings:
    READ_TEXT();
    if (u->run.elements >= WIRE_ELEMENTS_MAX)
        goto undo;
    u->run.elements++;
    member = append(u, message + way->offset, message + way->quantifier, sizeof(char *));
    if (__builtin_expect(!member, 0))
        return unpack_no_memory(u);
    memcpy(member, &text.data, sizeof(text.data));
    END_LATER();
    NEXT();
bytes:
    text = read_length(pos + 1);
    if (!text.data || (ptrdiff_t)text.bytes > here.end - text.data)
        goto undo;
    pos = text.data + text.bytes;
    store_bytes(message + way->offset, text);
    if (way->quantifier != way->offset)
        store32(message + way->quantifier, 1);
    here.fields++;
    NEXT();
int32:
    READ_VARINT();
    STORE(store32, (uint32_t)raw);
    NEXT();
sint32:
    READ_VARINT();
    STORE(store32, (uint32_t)unzigzag32((uint32_t)raw));
    NEXT();
int64:
    READ_VARINT();
    STORE(store64, raw);
    NEXT();
sint64:
    READ_VARINT();
    STORE(store64, (uint64_t)unzigzag64(raw));
    NEXT();
boolean:
    READ_VARINT();
    STORE(store32, raw != 0);
    NEXT();
fixed32:
    STORE(store32, load32(pos + 1));
    pos += 5;
    NEXT();
fixed64:
    STORE(store64, load64(pos + 1));
    pos += 9;
    NEXT();
multiply32:
    READ_VARINT();
    if (__builtin_expect(raw > way->u.number.most, 0))
        goto undo;
    mapped = raw * way->u.number.factor;
    KEEP(false);
    STORE(store32, (uint32_t)mapped);
    NEXT();
multiply64:
    READ_VARINT();
    if (__builtin_expect(raw > way->u.number.most, 0))
        goto undo;
    mapped = raw * way->u.number.factor;
    KEEP(false);
    STORE(store64, mapped);
    NEXT();
divide32:
    READ_VARINT();
    if (__builtin_expect(raw > way->u.number.most, 0))
        goto undo;
    mapped = fast_divide(&way->u.number, raw);
    if (mapped * way->u.number.factor != raw && (!LOOP_WAITS || way->slot == PROGRAM_SLOT_NONE))
        goto undo;
    KEEP(mapped * way->u.number.factor != raw);
    STORE(store32, (uint32_t)mapped);
    NEXT();
divide64:
    READ_VARINT();
    if (__builtin_expect(raw > way->u.number.most, 0))
        goto undo;
    mapped = fast_divide(&way->u.number, raw);
    if (mapped * way->u.number.factor != raw && (!LOOP_WAITS || way->slot == PROGRAM_SLOT_NONE))
        goto undo;
    KEEP(mapped * way->u.number.factor != raw);
    STORE(store64, mapped);
    NEXT();
map:
    READ_VARINT();
    if (raw >= QUICK_MAP_COUNT || !(way->u.map->known >> raw & 1))
        goto undo;
    mapped = (uint64_t)(int64_t)way->u.map->targets[raw];
    KEEP(way->u.map->lost >> raw & 1);
    STORE(store32, (uint32_t)mapped);
    NEXT();
message:
    text = read_length(pos + 1);
    if (!text.data || (ptrdiff_t)text.bytes > here.end - text.data ||
        here.depth >= WIRE_DEPTH_MAX || (here.pieces & way->u.message.piece))
        goto undo;
    here.pieces |= way->u.message.piece;
    pos = text.data + text.bytes;
    here.fields++;
    memcpy(&member, message + way->offset, sizeof(member));
    if (__builtin_expect(!member, 1)) {
        member = new_message(u, way->u.message.table);
        if (__builtin_expect(!member, 0))
            return unpack_no_memory(u);
        memcpy(message + way->offset, &member, sizeof(member));
    }
    KEEP_LATER();
    r = read_message(u, way->u.message.table, member, text.data, pos, here.depth + 1);
    if (__builtin_expect(r < 0, 0))
        return r;
    END_LATER();
    NEXT();
messages:
    text = read_length(pos + 1);
    if (!text.data || (ptrdiff_t)text.bytes > here.end - text.data ||
        here.depth >= WIRE_DEPTH_MAX || u->run.elements >= WIRE_ELEMENTS_MAX)
        goto undo;
    pos = text.data + text.bytes;
    u->run.elements++;
    member = append(u, message + way->offset, message + way->quantifier, sizeof(void *));
    if (__builtin_expect(!member, 0))
        return unpack_no_memory(u);
    {
        uint8_t *element = new_message(u, way->u.message.table);
        if (__builtin_expect(!element, 0))
            return unpack_no_memory(u);
        memcpy(member, &element, sizeof(element));
        KEEP_LATER();
        r = read_message(u, way->u.message.table, element, text.data, pos, here.depth + 1);
    }
    if (__builtin_expect(r < 0, 0))
        return r;
    END_LATER();
    NEXT();
taken:
    text = read_length(pos + 1);
    if (!LOOP_WAITS || !text.data || (ptrdiff_t)text.bytes > here.end - text.data ||
        !unpack_take(u, &here, way, text.data, text.data + text.bytes))
        goto undo;
    pos = text.data + text.bytes;
    if (u->growing.at == at)
        u->growing.at = pos;
    here.fields++;
    NEXT();

carried:
    READ_TEXT();
    here.fields++;
    if (!LOOP_WAITS)
        *own(at) = way->tag;
    r = unpack_carry(u, &here, way->u.message.op->op, at, pos);
    if (__builtin_expect(r < 0, 0))
        return r;
    if (!LOOP_WAITS)
        *own(at) = 0;
    NEXT();

wide: /* two bytes; a second one of 0 would be one too many */
    if (tag >= 0x80 && pos[1] > 0 && pos[1] < QUICK_WIDE_MAX / 16) {
        uint32_t index = ((tag & 0x7fu) >> 3 | (uint32_t)pos[1] << 4) - QUICK_NUMBER_COUNT;
        way = &table->wide[index];
        if (index < table->wide_count && way->tag == tag) {
            pos++;
            goto *ways[way->way];
        }
    }
    goto other;
undo:
    tag = way->tag;
other:
    if (!LOOP_WAITS)
        *own(at) = tag;
    KEEP_LATER();
    r = take_long_way(u, &here, at);
    if (r < 0)
        return r;
    pos = here.next;
    if (LOOP_WAITS)
        later = u->terminators_end;
    if (!LOOP_WAITS)
        *own(at) = 0;
    if (has_fragment(u) && pos < here.end) { /* it goes before whatever is stored next */
        at = pos;
        tag = *pos;
        goto other;
    }
edge:
    if (pos < here.end) { /* A field has two bytes at least. */
        size_t room = (size_t)(here.end - pos), most = 2 * (WIRE_FIELDS_MAX - here.fields);
        room = room < most ? room : most;
        if (LOOP_WAITS) { /* and no more than one string ends there */
            most = 2 * (size_t)(u->terminators + TERMINATOR_MAX - later);
            room = room < most ? room : most;
        }
        stop = pos + room;
        if (pos < stop)
            NEXT();
        at = pos;
        tag = *pos;
        goto other;
    }
    if (pos > here.end)
        goto undo; /* the field at `at` does */
    KEEP_LATER();
    if (LOOP_WAITS && !here.frame && close_quietly(u, &here))
        return 0;
    return LOOP_WAITS || here.frame || table->required_count > 0 ? unpack_close(u, &here) : 0;
}

#undef NEXT
#undef READ_TEXT
#undef END_LATER
#undef KEEP_LATER
#undef READ_VARINT
#undef STORE
#undef KEEP
#undef LOOP_NAME
#undef LOOP_WAITS
