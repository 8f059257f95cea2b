//! Pages, from fixed objects.
