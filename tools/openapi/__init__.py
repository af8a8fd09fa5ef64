"""The REST surface as OpenAPI 3.1, made from the protos: as a document, and as a page to read."""
