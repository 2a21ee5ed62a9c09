@0xdde87d83fd68b5e9;
# A small service for the tests of the RPC library.

using Common = import "/common.capnp";

interface Probe extends(Common.Service) {
  echo @0 (context :Common.Context, batch :List(Data)) -> BatchResult;
  # The same again.

  wait @1 (context :Common.Context) -> Common.Done;
  # Never returns by itself.

  fail @2 (context :Common.Context, how :Text) -> Common.Done;
  # Raises an exception of the kind that `how` names.

  open @3 (context :Common.Context) -> HandleResult;
  # A capability to hold.

  counts @4 (context :Common.Context) -> CountsResult;
  # What goes on in the service.

  about @5 (context :Common.Context) -> BatchResult;
  # The context that arrived, and the one that the running code believes to be in.

  blob @6 (context :Common.Context, length :UInt32, whole :Bool) -> BlobResult;
  # Bytes: as a Payload, or in one message.
}

struct BatchResult { union { ok @0 :List(Data); error @1 :Common.Error; } }
struct HandleResult { union { ok @0 :Handle; error @1 :Common.Error; } }
struct CountsResult { union { ok @0 :Counts; error @1 :Common.Error; } }
struct BlobResult { union { ok @0 :Common.Payload; error @1 :Common.Error; } }

struct Counts {
  waiting @0 :UInt32;    # calls of `wait` that are being carried out
  cancelled @1 :UInt32;  # calls of `wait` that were cancelled
  open @2 :UInt32;       # handles that are held
  calls @3 :UInt32;      # calls of `echo`
}

interface Handle {
  touch @0 (context :Common.Context) -> Common.Done;
  close @1 (context :Common.Context) -> Common.Done;
}
