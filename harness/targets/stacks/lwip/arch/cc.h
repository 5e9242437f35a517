/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What lwIP wants to know of its compiler and machine; all else has a default there.
 */
#ifndef TCPQUAL_LWIP_CC_H
#define TCPQUAL_LWIP_CC_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

uint32_t adapter_random(void);

#define LWIP_RAND() adapter_random()
#define LWIP_PLATFORM_DIAG(x) do { printf x; } while (0)
/* What lwIP holds impossible ends the process: the case in which that happens is told so, with this line. */
#define LWIP_PLATFORM_ASSERT(x)                                                                   \
    do {                                                                                          \
        fprintf(stderr, "lwIP: assertion failed: %s (%s, line %d)\n", x, __FILE__, __LINE__);     \
        abort();                                                                                  \
    } while (0)

#endif
