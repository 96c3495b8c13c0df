/* SPDX-License-Identifier: Apache-2.0 */
/* Our programs are built for little-endian machines alone. */
#ifndef LINTEL_BPF_ENDIAN_H
#define LINTEL_BPF_ENDIAN_H

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "programs are built with the target bpfel");

#define bpf_htons(x) ((__be16)__builtin_bswap16(x))
#define bpf_ntohs(x) ((__u16)__builtin_bswap16(x))
#define bpf_htonl(x) ((__be32)__builtin_bswap32(x))
#define bpf_ntohl(x) ((__u32)__builtin_bswap32(x))

#endif
