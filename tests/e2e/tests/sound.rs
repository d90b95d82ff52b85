//! Tests that every snapshot called sound starts: the verdict on damaged snapshots, compared with the real
//! etcdutl and the real etcd.

mod damage;
mod oracle;
mod pages;
