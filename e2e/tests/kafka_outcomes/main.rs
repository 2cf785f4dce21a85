//! What became of a prepared transaction whose writer is gone: every answer that a broker gives to `EndTxn` version 3, and
//! what is made of it.

mod access;
mod accidents;
mod facts;
mod rows;
mod stage;
