package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"

	"github.com/wadilog/wadi/internal/mutant"
)

// row says that one test must notice one mutant.
type row struct {
	mutant string
	pkg    string   // relative to the module's root
	test   string   // top-level test
	args   []string // of the test binary, as after go test's -args
}

// table has at least one row for each rule. docs/ARCHITECTURE.md shows it.
var table = []row{
	{mutant.SkipWALSync, "ingest/wal", "TestPowerLossKeepsWhatWasAcknowledged", nil},
	{mutant.SkipSyncedPosition, "ingest/wal", "TestDamageIsNotATornTail", nil},
	{mutant.SkipNonceReadBack, "catalog/journal", "TestForeignEntryIsNotTakenForOwn", nil},
	{mutant.SkipNonceReadBack, "catalog/journal", "TestWritesSurviveFaults", nil},
	{mutant.SkipNonceReadBack, "catalog", "TestScheduleDeposedLeaderWithUnsettledPut", nil},
	{mutant.SkipOneBodyPerSlot, "catalog/journal", "TestOneBodyPerSlot", nil},
	{mutant.SkipOneBodyPerSlot, "catalog", "TestScheduleRepeatedPutInDeletedSlot", nil},
	{mutant.SkipListAfterClaim, "catalog/journal", "TestClaimIntoDeletedSlotIsVoid", nil},
	{mutant.SkipListAfterClaim, "catalog", "TestScheduleSleepingClaimer", nil},
	{mutant.SkipListAfterClaim, "catalog/journal", "TestSchedules", nil},
	{mutant.SkipKeepClaims, "catalog/journal", "TestDeposedLeaderFindsTheClaim", nil},
	{mutant.SkipKeepClaims, "catalog", "TestScheduleSleepingLeader", nil},
	{mutant.SkipKeepClaims, "catalog/journal", "TestSchedules", nil},
	{mutant.SkipKeepNewestSlot, "catalog/journal", "TestSleepingReaderSeesThatItIsBehind", nil},
	{mutant.SkipKeepNewestSlot, "catalog", "TestScheduleSleepingClaimer", nil},
	{mutant.SkipKeepNewestSlot, "catalog/journal", "TestSchedules", nil},
	{mutant.SkipCommitOrderCheck, "catalog", "TestCommitOrder", nil},
	{mutant.SkipCommitOrderCheck, "catalog", "TestSimulation", nil},
	{mutant.SkipCommitOrderCheck, "catalog", "TestScheduleCopiedDataDirectory", nil},
	{mutant.SkipSequenceCheck, "catalog", "TestProducerSequence", nil},
	{mutant.SkipSequenceCheck, "catalog", "TestStateAgainstModel", quickRapid},
	{mutant.SkipKeyCheck, "catalog", "TestRequestKeyRepeats", nil},
	{mutant.SkipKeyCheck, "catalog", "TestStateAgainstModel", quickRapid},
	{mutant.SkipFenceCheck, "catalog", "TestFencingToken", nil},
	{mutant.SkipFenceCheck, "catalog", "TestStateAgainstModel", quickRapid},
	{mutant.SkipLetGo, "catalog", "TestPartitionMovesInTwoSteps", nil},
	{mutant.SkipLetGo, "catalog", "TestStateAgainstModel", quickRapid},
	{mutant.SkipLetGo, "catalog", "TestGroupProtocol", quickRapid},
	{mutant.SkipCommitAfter, "catalog", "TestLateCommitTakesNothingBack", nil},
	{mutant.SkipCommitEpoch, "catalog", "TestMemberCommits", nil},
	{mutant.SkipConfirm, "catalog", "TestSimulation", nil},
	{mutant.SkipConfirm, "catalog", "TestScheduleDeposedLeaderIsAsked", nil},
	{mutant.SkipFirstPut, "catalog", "TestScheduleSleepingLeader", nil},
	{mutant.SkipFirstPut, "catalog", "TestScheduleRepeatedPutInDeletedSlot", nil},
	{mutant.SkipListAfterFound, "catalog", "TestScheduleVoidClaimInListedSlot", nil},
	{mutant.SkipPrevNonce, "catalog", "TestScheduleVoidClaimInListedSlot", nil},
	{mutant.SkipForwardOnce, "catalog", "TestScheduleForwardsOutOfOrder", nil},
	{mutant.SkipForwardOrder, "catalog", "TestScheduleForwardsOutOfOrder", nil},
	{mutant.SkipFailForwarded, "catalog", "TestScheduleDeposedLeaderDropsForwards", nil},
	{mutant.SkipAwaitReplica, "catalog", "TestScheduleForwardsOutOfOrder", nil},
	{mutant.SkipLeaseProof, "catalog", "TestDeposedLeaderNeedsProof", nil},
	{mutant.SkipLeaseProof, "catalog", "TestHeartbeatOnAProofThatIsAQuarterOld", nil},
	{mutant.SkipLeaseStart, "catalog", "TestClaimBeginsLeasesAnew", nil},
	{mutant.SkipLeaseStart, "catalog", "TestLeaseSimulation", nil},
	{mutant.SkipRemovalWithdraw, "catalog", "TestRemovalEndsWithTheLead", nil},
	{mutant.SkipRemovalWithdraw, "catalog", "TestRemovalEndsWithTheLeadBetweenClaims", nil},
	{mutant.SkipConfirm, "localstack/linear", "TestLinearizability", fewHistories},
	{mutant.SkipExpectedOffset, "catalog", "TestExpectedOffset", nil},
	{mutant.SkipExpectedOffset, "localstack/linear", "TestLinearizability", fewHistories},
	{mutant.SkipCompactCheck, "catalog", "TestStateAgainstModel", quickRapid},
	{mutant.SkipConservation, "tiering", "TestCompactComparesWhatWasWritten", nil},
	{mutant.SkipOrphanFloor, "tiering", "TestOrphanThatIsCommittedAfterAll", nil},
	{mutant.SkipKnownObject, "localstack/soak", "TestSoak", fewWorlds},
	{mutant.SkipRetained, "localstack/soak", "TestSoak", fewWorlds},
	{mutant.SkipReadCRC, "reader", "TestFlippedByteIsNeverServed", nil},
	{mutant.SkipSoleTopic, "reader", "TestSharedObjectIsNeverNamed", nil},
	{mutant.SkipPutChecksum, "internal/objstore/s3store", "TestCorruptPutIsRefused", nil},
}

// quickRapid makes rapid tell of a failure without looking long for the
// smallest case, and without leaving it behind in testdata.
var quickRapid = []string{"-rapid.shrinktime=1s", "-rapid.nofailfile"}

// fewWorlds are enough for a fault that every round of collecting shows.
var fewWorlds = []string{"-soak.seeds=6"}

// fewHistories are enough to see what concerns every history.
var fewHistories = []string{"-linear.histories=10"}

// rulePrefix begins the names of the constants of internal/mutant.
const rulePrefix = "Skip"

// declaredRules lists the values of the rules that a source file declares.
func declaredRules(source string) ([]string, error) {
	file, err := parser.ParseFile(token.NewFileSet(), source, nil, 0)
	if err != nil {
		return nil, err
	}
	var rules []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		for i, name := range spec.Names {
			if i >= len(spec.Values) || !strings.HasPrefix(name.Name, rulePrefix) {
				continue
			}
			if literal, ok := spec.Values[i].(*ast.BasicLit); ok && literal.Kind == token.STRING {
				if value, unquoteErr := strconv.Unquote(literal.Value); unquoteErr == nil {
					rules = append(rules, value)
				}
			}
		}
		return false
	})
	return rules, nil
}

// withoutRow lists the rules that no test stands for.
func withoutRow(rules []string, table []row) []string {
	var missing []string
	for _, rule := range rules {
		if !slices.ContainsFunc(table, func(r row) bool { return r.mutant == rule }) {
			missing = append(missing, rule)
		}
	}
	return missing
}

// packagesOf lists the packages whose test binaries the rows need.
func packagesOf(rows []row) []string {
	var pkgs []string
	for _, r := range rows {
		if !slices.Contains(pkgs, r.pkg) {
			pkgs = append(pkgs, r.pkg)
		}
	}
	return pkgs
}
