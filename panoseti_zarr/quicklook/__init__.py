"""One picture of a stream, for a look at whether all is well."""
