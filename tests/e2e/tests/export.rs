//! Tests of the export of a cluster's objects from a real kube-apiserver, and of everything that can go wrong
//! with it.

mod broken;
mod datastores;
mod kube;
mod lost;
mod objects;
mod proxies;
mod references;
mod restarts;
mod rights;
mod sealing;
mod selection;
mod site;
mod sources;
mod standin;
mod twice;
mod versions;
mod webhooks;
