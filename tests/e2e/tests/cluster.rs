//! Tests of a whole Butler cluster, taken in one restore point: the scenario of the lab, the programs as
//! processes, and the content of the bucket afterwards.

mod bed;
mod canaries;
mod same;
mod whole;
