# For Cap'n Proto: what goes in comes out.
@0xadfd7e995adcc176;

interface Echo {
  echo @0 (payload :Data) -> (payload :Data);
}
