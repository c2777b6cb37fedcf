// SPDX-License-Identifier: Apache-2.0 OR MIT
//
// The program that stress starts, again and again.
int main(void)
{
	return 0;
}
