/* exp, log1p and log on the domains of the formula. */
#ifndef PRIMITIVES_H
#define PRIMITIVES_H
#endif
