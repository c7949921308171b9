//! Families for people.
