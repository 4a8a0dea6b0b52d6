"""What Prometheus is told of the stores: cache, limits, key-value, documents and vectors.

Floor 3, pure. A function a part, under the name of its field in Snapshot.
"""

from pgops.ops.observe.snapshot import CachePart, DocumentsPart, KvPart, LimitsPart, VectorIndexPart
from pgops.ops.tell.meters import Families, Meter
from pgops.services.models import CacheNamespace


def cache(told: Families, part: CachePart) -> None:
    told.total("pgops_cache_hits", "Reads that found something.", part.hits)
    told.total("pgops_cache_misses", "Reads that found nothing.", part.misses)
    told.gauge("pgops_cache_entries", "Entries, estimated where there are many.", part.entries)
    told.gauge("pgops_cache_expired_entries", "Those that wait for the purge.", part.expired_backlog)
    told.gauge("pgops_cache_bytes", "The size of the cache's table.", part.bytes)
    told.gauge("pgops_cache_emptied_by_crash", "Whether a crash emptied it.", part.emptied_by_crash)
    told.gauge(
        "pgops_server_buffer_hit_ratio", "PostgreSQL's own: pages of this database that were in memory.",
        part.buffer_hit_ratio,
    )  # fmt: skip


def cache_namespaces(told: Families, part: tuple[CacheNamespace, ...]) -> None:
    for one in part:
        names = {"namespace": one.name}
        told.total("pgops_cache_namespace_hits", "Reads that found something.", one.hits, **names)
        told.total("pgops_cache_namespace_misses", "Reads that found nothing.", one.misses, **names)
        told.total("pgops_cache_namespace_sets", "Writes.", one.sets, **names)
        told.total("pgops_cache_namespace_expired", "Entries purged as expired.", one.expired, **names)
        told.total("pgops_cache_namespace_evicted", "Entries evicted above the cap.", one.evicted, **names)
        told.gauge("pgops_cache_namespace_entries", "Entries.", one.entries, **names)
        told.gauge("pgops_cache_namespace_max_entries", "The cap on them.", one.max_entries, **names)
        told.gauge("pgops_cache_namespace_bytes", "The bytes of keys and values.", one.bytes, **names)
        told.gauge("pgops_cache_namespace_max_bytes", "The cap on them.", one.max_bytes, **names)


def limits(told: Families, part: LimitsPart) -> None:
    told.gauge("pgops_limits_keys", "Keys of rate limits.", part.keys)
    told.gauge("pgops_limits_expired_keys", "Those that wait for a purge.", part.expired_backlog)
    told.gauge("pgops_limits_bytes", "The size of their tables.", part.bytes)


def kv(told: Families, part: KvPart) -> None:
    stores = (
        ("durable", part.keys, part.expired_backlog, part.bytes),
        ("ephemeral", part.ephemeral_keys, part.ephemeral_expired_backlog, part.ephemeral_bytes),
    )
    for store, keys, expired, size in stores:
        told.gauge("pgops_kv_keys", "Keys of a key-value store.", keys, store=store)
        told.gauge("pgops_kv_expired_keys", "Those that wait for a purge.", expired, store=store)
        told.gauge("pgops_kv_bytes", "The size of its table.", size, store=store)


def documents(told: Families, part: tuple[DocumentsPart, ...]) -> None:
    for one in part:
        names = {"collection": one.name}
        told.gauge("pgops_documents", "Documents of a collection, estimated.", one.documents, **names)
        told.gauge("pgops_documents_dead_rows", "Rows that wait for a vacuum.", one.dead_rows, **names)
        told.gauge("pgops_documents_bytes", "The size of the collection.", one.bytes, **names)
        told.gauge("pgops_documents_indexes", "Its indexes.", one.index_count, **names)
        told.gauge("pgops_documents_index_bytes", "Their size.", one.index_bytes, **names)
        told.gauge("pgops_documents_invalid_indexes", "Those that are not valid.", one.invalid_indexes, **names)
        told.gauge("pgops_documents_unused_indexes", "Those that nobody reads.", one.unused_indexes, **names)
        told.total("pgops_documents_writes", "Rows written.", one.writes_total, **names)
        told.total("pgops_documents_updates", "Rows updated.", one.updates_total, **names)
        told.total("pgops_documents_hot_updates", "Those that touched no index.", one.hot_updates_total, **names)
        told.total("pgops_documents_scans", "Scans of the collection.", one.scans_total, **names)


def vectors(told: Families, part: tuple[VectorIndexPart, ...]) -> None:
    for one in part:
        names = {"table": one.table, "index": one.index or ""}
        told.gauge("pgops_vector_index_rows", "Rows under an index of vectors.", one.rows, **names)
        told.gauge("pgops_vector_index_bytes", "Its size.", one.bytes, **names)
        told.gauge("pgops_vector_index_valid", "Whether it is valid.", one.valid, **names)
        told.gauge("pgops_vector_index_lists", "Lists of an ivfflat index, as built.", one.lists_built, **names)
        told.total("pgops_vector_index_searches", "Searches through it.", one.searches_total, **names)
        told.gauge("pgops_vector_index_recall_ratio", "The recall last measured.", one.recall, **names)
        at = None if one.recall_at is None else one.recall_at.timestamp()
        told.gauge("pgops_vector_index_recall_timestamp_seconds", "When it was measured.", at, **names)


METERS: dict[str, Meter] = {
    "cache": cache, "cache_namespaces": cache_namespaces, "limits": limits, "kv": kv, "documents": documents,
    "vectors": vectors,
}  # fmt: skip
