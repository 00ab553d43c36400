#include "base/rate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int rate_parse(const char *text, uint32_t *ret_rate)
{
    char *end;
    if (strspn(text, "0123456789.") == 0) /* no sign, no "inf", no blank */
        return -EINVAL;
    double percent = strtod(text, &end);
    end += strspn(end, " ");
    if (*end == '%')
        end++;
    if (*end != '\0' || end == text || !(percent >= 0 && percent <= 100) || strpbrk(text, "xXeE"))
        return -EINVAL;
    uint32_t rate = (uint32_t)(percent * (RATE_ALL / 100) + 0.5);
    *ret_rate = rate == 0 && percent > 0 ? 1 : rate;
    return 0;
}
