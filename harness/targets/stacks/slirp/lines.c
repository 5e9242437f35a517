/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The lines that there are. The state of libslirp's end of each is read from the text of slirp_connection_info, by the
 * descriptor.
 */
#define _POSIX_C_SOURCE 200809L
#include "adapter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const theirs[] = {"CLOSED",     "LISTEN",     "SYN_SENT", "SYN_RCVD", "ESTABLISHED", "CLOSE_WAIT",
                                     "FIN_WAIT_1", "FIN_WAIT_2", "CLOSING",  "LAST_ACK", "TIME_WAIT"};

struct line *line_first;
int line_count;

struct line *line_new(uint8_t family) {
    struct line *line = calloc(1, sizeof *line), **end = &line_first;
    if (!line)
        abort();
    line->handle = -1;
    line->here.family = line->there.family = family;
    while (*end)
        end = &(*end)->next;
    line_count++;
    return *end = line;
}

void line_sweep(void) {
    struct line **at = &line_first;
    while (*at) {
        struct line *line = *at;
        if (line->handle >= 0 || line->owner || (line->listener && line->established)) {
            at = &line->next;
            continue;
        }
        *at = line->next;
        free(line->got);
        free(line);
        line_count--;
    }
}

void line_look(void) {
    char *text = slirp_connection_info(nat), *row, *rest = NULL;
    struct line *line;
    for (line = line_first; line; line = line->next)
        if (line->handle < 0)
            line->state = CLOSED;
    for (row = strtok_r(text, "\n", &rest); row; row = strtok_r(NULL, "\n", &rest)) {
        char state[20];
        int handle, port, unread, index;
        if (sscanf(row, " TCP[%19[A-Z_0-9]] %d %*s %d %*s %*d %d", state, &handle, &port, &unread) != 4)
            continue;
        line = host_line(handle);
        if (!line)
            continue;
        if (line->listener)
            line->there.port = (uint16_t)port;
        line->unread = unread;
        for (index = 0; index < STATES; index++)
            if (!strcmp(state, theirs[index]))
                line->state = index;
        line->established |= line->state >= ESTABLISHED;
    }
    free(text);
}

int place_same(const struct place *one, const struct place *other) {
    return one->family == other->family && one->port == other->port &&
           !memcmp(one->address, other->address, one->family == 4 ? 4 : 16);
}

struct line *line_between(const struct tq_end *local, const struct tq_end *remote) {
    struct place one = place_of(local), other = place_of(remote);
    struct line *line;
    line_look();
    for (line = line_first; line; line = line->next)
        if (line->handle >= 0 && place_same(&line->here, &one) && place_same(&line->there, &other))
            return line;
    return NULL;
}
