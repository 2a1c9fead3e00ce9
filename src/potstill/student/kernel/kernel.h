// Local energies of a student and their gradient, fused: the computation of model.py, one block of atoms at a time.
//
// In:  species of each atom, its received edges (sorted by receiver; each edge between two atoms has its reverse), edge vectors.
// Out: local energy of each atom (eV), derivative of their sum by each edge vector (eV/A); or, for training, the derivative of
//      a weighted sum of local energies by all weights.
//
// Atoms of one element form blocks, so that one merged weight matrix is used for a whole block. A block passes through a
// layer without leaving the cache, and an edge is stored as B radial and (l_max + 1)^2 angular numbers. Two layers need two
// barriers. Only a C++17 compiler is needed; OpenMP is used where available. The caller pads all widths with zeros
// to multiples of the vector length. Letters as in model.py: D features, C channels, V vectors, P products, B radial functions,
// H hidden, K invariants, NL = l_max + 1.
//
// Senders may be ghosts: atoms of other processes. Exchange::forward copies their features between two layers, and
// Exchange::backward adds the gradients by these to their owners.
//
// Single precision, or double where POTSTILL_DOUBLE is defined. Include this header once in a file.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <new>
#include <vector>
#ifdef _OPENMP
#include <omp.h>
#endif

#ifdef POTSTILL_DOUBLE
#define POTSTILL_KERNEL kernel_double
#else
#define POTSTILL_KERNEL kernel_single
#endif

#include "vectors.h"

#include "model.h"

#include "geometry.h"

#include "run.h"

#include "edges.h"

#include "first_layer.h"

#include "network.h"
