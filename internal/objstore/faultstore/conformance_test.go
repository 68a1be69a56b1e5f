package faultstore_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/objstore/faultstore"
	"github.com/wadilog/wadi/internal/objstore/memstore"
	"github.com/wadilog/wadi/internal/objstore/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	features := storetest.Features{InstantList: true, UploadsByPrefix: true}
	storetest.Run(t, features, func(*testing.T) objstore.Bucket { return faultstore.New(memstore.New()) })
}
