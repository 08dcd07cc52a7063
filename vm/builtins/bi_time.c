/* bi_time.c -- Time: clocks and the calendar. A timestamp is milliseconds since 1970-01-01 UTC, an
 * Int. */
#include "vm/builtins/bi.h"

#include <stdlib.h>
#include <time.h>

enum { MS_PER_SECOND = 1000, MS_PER_DAY = 86400000, MAX_YEAR = 262143 };

static int64_t clock_ns(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Wall-clock time. A seeded run begins on 2026-01-01 and goes on by its logical clock. */
static int64_t wall_ms(const Proc *p)
{
    if (nosi_sched_is_seeded(p->sched))
        return 1767225600000 + (int64_t)(nosi_sched_now(p->sched) / 1000000);
    return clock_ns(CLOCK_REALTIME) / 1000000;
}

Value nosi_bi_time_now(Proc *p, Value *args)
{
    (void)args;
    return value_small(wall_ms(p));
}

Value nosi_bi_time_now_secs(Proc *p, Value *args)
{
    (void)args;
    return value_small(wall_ms(p) / 1000);
}

Value nosi_bi_time_monotonic_ns(Proc *p, Value *args)
{
    (void)args;
    return value_small((int64_t)nosi_sched_now(p->sched)); // the clock of sleep and after
}

/* ---- calendar ------------------------------------------------------------------------------- */

typedef struct Fields {
    int64_t year, days; // days since the epoch
    int month, day, hour, minute, second, ms, weekday,
        yearday; // month and day from 1, the others from 0
} Fields;

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

static bool is_leap(int64_t y)
{
    return (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
}

static int days_in_month(int64_t y, int64_t m)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return m == 2 && is_leap(y) ? 29 : days[m - 1];
}

/* Days from 1970-01-01 to a date. Years are counted from March, so that the leap day is the last
 * one. */
static int64_t days_from_date(int64_t y, int64_t m, int64_t d)
{
    y -= m <= 2;
    int64_t era = floor_div(y, 400), yoe = y - era * 400;
    int64_t doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static Fields split_time(int64_t ts)
{
    Fields f;
    f.days = floor_div(ts, MS_PER_DAY);
    int64_t ms = ts - f.days * MS_PER_DAY;
    f.ms = (int)(ms % 1000);
    f.second = (int)(ms / 1000 % 60);
    f.minute = (int)(ms / 60000 % 60);
    f.hour = (int)(ms / 3600000);
    f.weekday = (int)(((f.days + 4) % 7 + 7) % 7);
    int64_t z = f.days + 719468, era = floor_div(z, 146097), doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    f.day = (int)(doy - (153 * mp + 2) / 5 + 1);
    f.month = (int)(mp < 10 ? mp + 3 : mp - 9);
    f.year = yoe + era * 400 + (f.month <= 2);
    f.yearday = (int)(f.days - days_from_date(f.year, 1, 1));
    return f;
}

#define TIME_FIELD(name, value)                     \
    Value nosi_bi_time_##name(Proc *p, Value *args) \
    {                                               \
        WANT_INT(0);                                \
        Fields f = split_time(value_int(args[0]));  \
        return value_small(value);                  \
    }
TIME_FIELD(year, f.year)
TIME_FIELD(month, f.month)
TIME_FIELD(day, f.day)
TIME_FIELD(hour, f.hour)
TIME_FIELD(minute, f.minute)
TIME_FIELD(second, f.second)
TIME_FIELD(weekday, f.weekday)

/* Midnight of the date in args[0..3); false after raising. */
static bool date(Proc *p, const Value *args, int64_t *out)
{
    int64_t y = value_int(args[0]), m = value_int(args[1]), d = value_int(args[2]);
    if (y < -MAX_YEAR || y > MAX_YEAR || m < 1 || m > 12 || d < 1 || d > days_in_month(y, m)) {
        nosi_panic(p, "Invalid date: %lld-%lld-%lld", (long long)y, (long long)m, (long long)d);
        return false;
    }
    *out = days_from_date(y, m, d) * MS_PER_DAY;
    return true;
}

static bool time_of_day(Proc *p, const Value *args, int64_t *out)
{
    int64_t h = value_int(args[0]), m = value_int(args[1]), s = value_int(args[2]);
    if (h < 0 || h > 23 || m < 0 || m > 59 || s < 0 || s > 59) {
        nosi_panic(p, "Invalid time: %lld:%lld:%lld", (long long)h, (long long)m, (long long)s);
        return false;
    }
    *out = ((h * 60 + m) * 60 + s) * MS_PER_SECOND;
    return true;
}

Value nosi_bi_time_from_date(Proc *p, Value *args)
{
    int64_t ms;
    for (int i = 0; i < 3; i++)
        WANT_INT(i);
    return date(p, args, &ms) ? bi_int(p, ms) : VALUE_THROWN;
}

Value nosi_bi_time_from_time(Proc *p, Value *args)
{
    int64_t ms;
    for (int i = 0; i < 3; i++)
        WANT_INT(i);
    return time_of_day(p, args, &ms) ? bi_int(p, ms) : VALUE_THROWN;
}

Value nosi_bi_time_from_date_time(Proc *p, Value *args)
{
    int64_t day, ms;
    for (int i = 0; i < 6; i++)
        WANT_INT(i);
    return date(p, args, &day) && time_of_day(p, args + 3, &ms) ? bi_int(p, day + ms)
                                                                : VALUE_THROWN;
}

/* ---- text ----------------------------------------------------------------------------------- */

static const char *const day_names[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                        "Thursday", "Friday", "Saturday"};
static const char *const month_names[] = {"January",   "February", "March",    "April",
                                          "May",       "June",     "July",     "August",
                                          "September", "October",  "November", "December"};

static void format_time(StrBuf *out, const char *s, size_t n, const Fields *f, int64_t ts,
                        const char *zone, long offset);

/* Appends directive `c`; false: unknown. */
static bool directive(StrBuf *out, char c, const Fields *f, int64_t ts, const char *zone,
                      long offset)
{
    int hour12 = f->hour % 12 ? f->hour % 12 : 12;
    switch (c) {
    case 'Y':
        nosi_strbuf_printf(out, "%lld", (long long)f->year);
        break;
    case 'y':
        nosi_strbuf_printf(out, "%02lld", (long long)((f->year % 100 + 100) % 100));
        break;
    case 'm':
        nosi_strbuf_printf(out, "%02d", f->month);
        break;
    case 'd':
        nosi_strbuf_printf(out, "%02d", f->day);
        break;
    case 'e':
        nosi_strbuf_printf(out, "%2d", f->day);
        break;
    case 'H':
        nosi_strbuf_printf(out, "%02d", f->hour);
        break;
    case 'I':
        nosi_strbuf_printf(out, "%02d", hour12);
        break;
    case 'M':
        nosi_strbuf_printf(out, "%02d", f->minute);
        break;
    case 'S':
        nosi_strbuf_printf(out, "%02d", f->second);
        break;
    case 'p':
        nosi_strbuf_puts(out, f->hour < 12 ? "AM" : "PM");
        break;
    case 'j':
        nosi_strbuf_printf(out, "%03d", f->yearday + 1);
        break;
    case 'a':
        nosi_strbuf_add(out, day_names[f->weekday], 3);
        break;
    case 'A':
        nosi_strbuf_puts(out, day_names[f->weekday]);
        break;
    case 'b':
        nosi_strbuf_add(out, month_names[f->month - 1], 3);
        break;
    case 'B':
        nosi_strbuf_puts(out, month_names[f->month - 1]);
        break;
    case 'u':
        nosi_strbuf_printf(out, "%d", f->weekday ? f->weekday : 7);
        break;
    case 'w':
        nosi_strbuf_printf(out, "%d", f->weekday);
        break;
    case 'Z':
        nosi_strbuf_puts(out, zone);
        break;
    case 'z':
        nosi_strbuf_printf(out, "%c%02ld%02ld", offset < 0 ? '-' : '+', labs(offset) / 3600,
                           labs(offset) / 60 % 60);
        break;
    case 's':
        nosi_strbuf_printf(out, "%lld", (long long)floor_div(ts, MS_PER_SECOND));
        break;
    case 'f':
        nosi_strbuf_printf(out, "%03d000000", f->ms);
        break;
    case 'F':
        format_time(out, "%Y-%m-%d", 8, f, ts, zone, offset);
        break;
    case 'T':
    case 'X':
        format_time(out, "%H:%M:%S", 8, f, ts, zone, offset);
        break;
    case 'D':
    case 'x':
        format_time(out, "%m/%d/%y", 8, f, ts, zone, offset);
        break;
    case 'R':
        format_time(out, "%H:%M", 5, f, ts, zone, offset);
        break;
    case 'c':
        format_time(out, "%a %b %e %H:%M:%S %Y", 20, f, ts, zone, offset);
        break;
    case 'n':
        nosi_strbuf_putc(out, '\n');
        break;
    case 't':
        nosi_strbuf_putc(out, '\t');
        break;
    case '%':
        nosi_strbuf_putc(out, '%');
        break;
    default:
        return false;
    }
    return true;
}

static void format_time(StrBuf *out, const char *s, size_t n, const Fields *f, int64_t ts,
                        const char *zone, long offset)
{
    for (size_t i = 0; i < n; i++) {
        if (s[i] != '%' || i + 1 == n) {
            nosi_strbuf_putc(out, s[i]);
        } else if (n - i >= 3 && s[i + 1] == '3' && s[i + 2] == 'f') {
            nosi_strbuf_printf(out, "%03d", f->ms);
            i += 2;
        } else if (directive(out, s[i + 1], f, ts, zone, offset)) {
            i++;
        } else {
            nosi_strbuf_putc(out, '%'); // unknown: as it is
        }
    }
}

static Value format(Proc *p, Value *args, bool local)
{
    StrBuf out = {0};
    const char *s, *zone = "UTC";
    size_t n;
    struct tm tm;
    long offset = 0;
    WANT_INT(0);
    WANT_STRING(1);
    int64_t ts = value_int(args[0]);
    time_t seconds = (time_t)floor_div(ts, MS_PER_SECOND);
    if (local && localtime_r(&seconds, &tm)) {
        offset = tm.tm_gmtoff;
        zone = tm.tm_zone;
    }
    int64_t shifted;
    if (__builtin_add_overflow(ts, (int64_t)offset * MS_PER_SECOND, &shifted))
        shifted = ts;
    Fields f = split_time(shifted);
    nosi_string_view(args[1], &s, &n);
    format_time(&out, s, n, &f, ts, zone, offset);
    return bi_text(p, &out);
}

Value nosi_bi_time_format(Proc *p, Value *args)
{
    return format(p, args, true);
}
Value nosi_bi_time_format_utc(Proc *p, Value *args)
{
    return format(p, args, false);
}
