module endio/bench/spin

go 1.26.0

require endio v0.0.0

replace endio => ../..
